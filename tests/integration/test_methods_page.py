"""The page of a comparison in a real browser: it loads in silence, its choices work, text stays text."""

from pathlib import Path
from typing import Any

import pytest

from experiments.page.writing import write_comparison_page
from tests.browser import all_of, choose, complaints, missing, on_a_phone, text_of, wait_for
from tests.comparison import looked_at

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is here"),
]

HOSTILE = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"


def write(folder: Path) -> str:
    """The address of the page of the comparison in ``folder``, which is written now."""
    return write_comparison_page(folder).file.as_uri()


def click(browser: Any, selector: str) -> None:
    browser.execute_script("arguments[0].click()", browser.find_element("css selector", selector))


def scroll_to(browser: Any, selector: str) -> None:
    browser.execute_script("document.querySelector(arguments[0]).scrollIntoView()", selector)


def test_a_page_loads_in_silence_and_shows_the_whole_comparison(browser: Any, tmp_path: Path) -> None:
    browser.get(write(looked_at(tmp_path)))
    assert browser.title == "two · AdaSwitch"
    assert text_of(browser, "#state") == "complete"
    assert "0.580 ± 0.254" in text_of(browser, "#result")
    assert text_of(browser, "#result td strong") == "+0.100 ± 0.000"
    assert len(all_of(browser, "#result .chip.good")) == 4
    for chart in all_of(browser, ".chart"):
        browser.execute_script("arguments[0].scrollIntoView()", chart)
        wait_for(browser, lambda chart=chart: chart.find_elements("css selector", "canvas"))
    assert "58.0%" in text_of(browser, ".chart .u-legend")
    click(browser, 'input[name="axis"][value="teacher_tokens"]')
    scroll_to(browser, "#curves")
    wait_for(browser, lambda: "teacher tokens" in text_of(browser, ".chart .u-legend"))
    click(browser, "#log")
    scroll_to(browser, "#quality")
    wait_for(browser, lambda: all_of(browser, "#quality-plot canvas"))
    assert "off_policy 0.58 for 0.5" in browser.find_element("id", "quality-figure").get_attribute(
        "aria-label"
    )
    assert "policy.kind" in text_of(browser, "#differing")
    assert "processor" in text_of(browser, "#settings")
    assert all_of(browser, "#problems:not([hidden])") == []
    assert complaints(browser) == []


def test_a_choice_of_methods_counts_for_the_whole_page(browser: Any, tmp_path: Path) -> None:
    browser.get(write(looked_at(tmp_path)))
    assert len(all_of(browser, '#result tr[data-method="off_policy"]')) == 4
    click(browser, '#methods input[value="off_policy"]')
    assert all_of(browser, '[data-method="off_policy"]') == []
    assert text_of(browser, "#count") == "4 prompts, 4 rollouts of 8"
    scroll_to(browser, "#curves")
    wait_for(browser, lambda: all_of(browser, ".chart .u-legend"))
    assert "off_policy" not in text_of(browser, "#charts")
    click(browser, "#all-methods")
    assert text_of(browser, "#count") == "4 prompts, 8 rollouts of 8"
    click(browser, "#theme")
    assert complaints(browser) == []


def test_rollouts_of_one_prompt_stand_side_by_side_and_filters_narrow_them(
    browser: Any, tmp_path: Path
) -> None:
    browser.get(write(looked_at(tmp_path)))
    first = browser.find_element("css selector", ".group")
    assert [card.text for card in first.find_elements("css selector", "h4")] == ["adaswitch", "off_policy"]
    choose(browser, "search", "OFF_POLICY AT 1")
    assert text_of(browser, "#count") == "2 prompts, 2 rollouts of 8"
    choose(browser, "switched", "yes")
    assert text_of(browser, "#count") == "1 prompt, 1 rollout of 8"
    choose(browser, "search", "")
    choose(browser, "step", "0")
    assert text_of(browser, "#count") == "1 prompt, 2 rollouts of 8"
    text = browser.find_element("css selector", ".text")
    browser.execute_script("arguments[0].focus()", text)
    from selenium.webdriver.common.keys import Keys

    text.send_keys(Keys.ARROW_RIGHT * 6)
    assert "written by the teacher" in text_of(browser, "#tip")
    assert complaints(browser) == []


def test_hostile_text_stays_text(browser: Any, tmp_path: Path) -> None:
    folder = looked_at(tmp_path, prompt=HOSTILE, title=HOSTILE)
    (folder / "adaswitch-seed3" / "cell.yaml").write_text(f"name: [{HOSTILE}\n")
    browser.get(write(folder))
    assert text_of(browser, "#name") == HOSTILE
    assert HOSTILE in text_of(browser, ".group .prompt")
    assert all_of(browser, "#problems li")
    assert all_of(browser, "main img, main script") == []
    assert browser.title == "two · AdaSwitch"
    assert complaints(browser) == []


def test_a_narrow_window_holds_everything(browser: Any, tmp_path: Path) -> None:
    with on_a_phone(browser) as width:
        browser.get(write(looked_at(tmp_path)))
        widths = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert widths == [width, width]
    assert complaints(browser) == []


def test_a_damaged_comparison_says_so_at_the_top(browser: Any, tmp_path: Path) -> None:
    folder = looked_at(tmp_path)
    (folder / "plan.yaml").write_text("{")
    (folder / "adaswitch-seed5" / "eval.jsonl").write_text("{\n")
    for name in ("adaswitch-seed3", "off_policy-seed3"):
        for shard in (folder / name / "rollouts").iterdir():
            shard.write_bytes(b"nothing")
    browser.get(write(folder))
    assert "plan.yaml" in text_of(browser, "#problems")
    assert "eval.jsonl, line 1" in text_of(browser, "#problems")
    assert "off_policy" in text_of(browser, "#result")
    assert complaints(browser) == []


def test_a_comparison_without_anything_yet_is_shown(browser: Any, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "plan.yaml").write_text("")
    browser.get(write(folder))
    assert "nothing to compare" in text_of(browser, "#result")
    assert complaints(browser) == []
