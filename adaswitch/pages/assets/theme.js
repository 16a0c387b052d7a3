// Light or dark: as the system is, or as the button says.

/** Starts the button. `recolour` draws anew what does not follow the style sheet. */
function startTheme(recolour) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", recolour);
  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : dark.matches;
    root.dataset.theme = isDark ? "light" : "dark";
    recolour();
  });
}
