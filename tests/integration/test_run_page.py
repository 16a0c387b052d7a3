"""The page of a run in a real browser: it loads in silence, its filters work, it follows a run, text stays text."""

from pathlib import Path
from typing import Any

import pytest

from adaswitch.pages.document import PageSource, whole_page
from adaswitch.pages.html import page_html
from adaswitch.processes.managed import ManagedProcess
from adaswitch.runs.directory import RunDirectory
from tests.browser import all_of, choose, complaints, missing, on_a_phone, text_of, wait_for
from tests.pages import begun_run, page_run, record_scores, record_step, text_rollout

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is here"),
]

HOSTILE = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
TEXTS = ("a  b\n\tc", "你好世界", "שלום עולם", "مرحبا", "🙂👩‍👩‍👧", "नमस्ते")
CHARTS_FOR_METRICS = 14


def write(run: RunDirectory) -> str:
    """The address of the page of ``run``, which is written now."""
    file = run.path / "page.html"
    file.write_text(page_html("run", whole_page(PageSource.open(run.path))), encoding="utf-8")
    return file.as_uri()


def test_a_page_loads_in_silence_and_shows_the_whole_run(browser: Any, tmp_path: Path) -> None:
    browser.get(write(page_run(tmp_path, num_steps=12)))
    assert text_of(browser, ".mark .after") == "80.0%"
    assert "better" in text_of(browser, ".mark")
    assert "No sign of trouble" in text_of(browser, "#health")
    assert len(all_of(browser, ".chart")) == CHARTS_FOR_METRICS + 1
    for chart in all_of(browser, ".chart"):
        browser.execute_script("arguments[0].scrollIntoView()", chart)
        wait_for(browser, lambda chart=chart: chart.find_elements("css selector", "canvas"))
    browser.execute_script("document.querySelector('#curves').scrollIntoView()")
    browser.find_element("css selector", 'input[value="teacher_tokens_so_far"]').click()
    browser.find_element("id", "log").click()
    wait_for(browser, lambda: "teacher tokens" in text_of(browser, ".chart .u-legend"))
    assert "trainer.num_steps" in text_of(browser, "#settings")
    assert "transformers" in text_of(browser, "#settings")
    assert all_of(browser, "#problems:not([hidden])") == []
    assert complaints(browser) == []


def test_filters_and_search_narrow_the_list(browser: Any, tmp_path: Path) -> None:
    browser.get(write(page_run(tmp_path, num_steps=4)))
    assert text_of(browser, "#count") == "8 rollouts of 8"
    choose(browser, "switched", "yes")
    assert text_of(browser, "#count") == "4 rollouts of 8"
    choose(browser, "step", "2")
    assert len(all_of(browser, ".card")) == 1
    assert "switched at token 5" in text_of(browser, ".card")
    choose(browser, "from", "6")
    assert text_of(browser, "#count") == "0 rollouts of 8"
    for name in ("from", "switched", "step"):
        choose(browser, name, "")
    choose(browser, "search", "SO #8 AT 3")
    assert text_of(browser, "#count") == "1 rollout of 8"
    choose(browser, "right", "yes")
    assert text_of(browser, "#count") == "0 rollouts of 8"
    assert complaints(browser) == []


def test_the_keyboard_goes_from_token_to_token(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.get(write(page_run(tmp_path)))
    text = browser.find_element("css selector", ".text")
    browser.execute_script("arguments[0].focus()", text)
    text.send_keys(Keys.ARROW_RIGHT * 6)
    tip = text_of(browser, "#tip")
    assert "token 5 of 17" in tip
    assert "written by the teacher" in tip
    assert "divergence 1.5 nats, threshold 0.4: crossed" in tip
    assert "teacher's most likely" in tip
    assert "50.0%" in tip  # the student's first candidate
    text.send_keys(Keys.ESCAPE)
    assert all_of(browser, "#tip:not([hidden])") == []
    chart = browser.find_element("css selector", ".chart")
    chart.send_keys(Keys.HOME)
    wait_for(browser, lambda: "24.0%" in text_of(browser, ".chart .u-legend"))


def test_one_prompt_through_training_stands_side_by_side(browser: Any, tmp_path: Path) -> None:
    browser.get(write(page_run(tmp_path, num_steps=4)))
    browser.find_element("css selector", "[data-through]").click()
    assert len(all_of(browser, "dialog .card")) == 4
    assert "from step 0 to step 3" in text_of(browser, "dialog")
    browser.execute_script("document.querySelector('dialog').close()")
    assert complaints(browser) == []


def test_hostile_text_stays_text_and_every_script_is_shown(browser: Any, tmp_path: Path) -> None:
    run = begun_run(tmp_path)
    run.write_notes([HOSTILE])
    record_step(run, 0, [text_rollout(0, 0, HOSTILE, HOSTILE, prompt=HOSTILE)])
    record_step(run, 1, [text_rollout(1, i, text) for i, text in enumerate(TEXTS)])
    browser.get(write(run))
    shown = browser.execute_script(
        "return [...document.querySelectorAll('.text')].map((t) => "
        "[...t.querySelectorAll('.token')].map((s) => s.textContent).join(''))"
    )
    assert shown == [2 * HOSTILE, *TEXTS]
    assert HOSTILE in text_of(browser, "#status")
    assert all_of(browser, "#cards img, #cards script") == []
    assert browser.title == "run · AdaSwitch"
    assert complaints(browser) == []


def test_a_narrow_window_holds_everything(browser: Any, tmp_path: Path) -> None:
    run = page_run(tmp_path)
    record_step(run, 3, [text_rollout(3, 0, "w" * 400)])
    with on_a_phone(browser) as width:
        browser.get(write(run))
        widths = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert widths == [width, width]
        browser.find_element("css selector", ".text .token").click()
        tip = browser.find_element("id", "tip").rect
        assert tip["x"] >= 0
        assert tip["x"] + tip["width"] <= width
    assert complaints(browser) == []


def test_a_damaged_run_says_so_at_the_top(browser: Any, tmp_path: Path) -> None:
    run = page_run(tmp_path)
    run.evals.write_text("{\n")
    run.shards()[0].write_bytes(b"nothing")
    browser.get(write(run))
    assert "eval.jsonl, line 1" in text_of(browser, "#problems")
    assert "step-000000.safetensors" in text_of(browser, "#problems")
    assert text_of(browser, "#count") == "4 rollouts of 4"
    assert complaints(browser) == []


def test_a_live_page_follows_a_run_that_is_under_way(browser: Any, tmp_path: Path, free_port: int) -> None:
    run = begun_run(tmp_path)
    log = tmp_path / "watch.log"
    server = ManagedProcess("watch", "adaswitch", ["watch", str(run.path), "--port", str(free_port)], log)
    try:
        wait_for(browser, lambda: "Ctrl-C" in log.read_text())
        browser.get(f"http://127.0.0.1:{free_port}/")
        wait_for(browser, lambda: "no step is on record" in text_of(browser, "#curves-note"))
        assert "No rollouts are kept" in text_of(browser, "#rollouts-note")
        record_scores(run, 0, 0.3)
        record_step(run, 0, [text_rollout(0, 0, "first")])
        wait_for(browser, lambda: all_of(browser, ".chart .u-legend"))
        wait_for(browser, lambda: all_of(browser, ".card"))
        for step in range(1, 4):
            record_step(run, step, [text_rollout(step, 0, f"later {step}")])
        record_scores(run, 4, 0.9)
        wait_for(browser, lambda: text_of(browser, ".mark .after") == "90.0%")
        wait_for(browser, lambda: all_of(browser, "#news"))
        browser.find_element("id", "news").click()
        assert text_of(browser, "#count") == "4 rollouts of 4"
        assert text_of(browser, "#live") == "live"
        assert complaints(browser) == []
    finally:
        server.stop(10)
    wait_for(browser, lambda: "connection lost" in text_of(browser, "#live"))
