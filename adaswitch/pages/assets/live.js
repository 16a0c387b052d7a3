// A live page asks its server for what is new, part by part.

const POLL_MS = 2000;
const RETRY_MS = 5000;
const versions = {};

/** Asks once for what is new, and shows it. */
async function askForNews() {
  const answer = await fetch(`news?${new URLSearchParams(versions)}`, { cache: "no-store" });
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  const news = await answer.json();
  for (const [name, part] of Object.entries(news)) {
    versions[name] = part.version;
    showPart(name, part.content);
  }
}

/** Follows the run for as long as the page is open. A server that is away is tried again. */
async function follow() {
  const told = byId("live");
  let wait = POLL_MS;
  try {
    if (!document.hidden) await askForNews();
    told.dataset.ok = "yes";
    told.textContent = "live";
    wait = POLL_MS;
  } catch (error) {
    told.dataset.ok = "no";
    told.textContent = error instanceof TypeError ? "connection lost, trying again" : `${error.message}, trying again`;
    wait = RETRY_MS;
  }
  setTimeout(follow, wait);
}
