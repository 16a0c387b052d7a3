"""``import adaswitch``: the public names, imported when they are used and not before."""

import ast
import asyncio
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import adaswitch

ROOT = Path(__file__).parents[3]
DOOR = ROOT / "adaswitch/__init__.py"


def test_the_import_takes_nothing_that_loads_slowly() -> None:
    program = (
        "import sys, adaswitch; assert adaswitch.__version__; assert 'RunConfig' in dir(adaswitch); "
        "slow = ('torch', 'transformers', 'ray', 'httpx', 'pydantic', 'numpy'); "
        "print([name for name in slow if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", [name for name in adaswitch.__all__ if name != "__version__"])
def test_a_public_name_is_there_and_says_what_it_is(name: str) -> None:
    found = getattr(adaswitch, name)
    assert found is getattr(import_module(adaswitch._WHERE[name]), name)
    assert found.__doc__


def test_type_checkers_see_the_same_names() -> None:
    [block] = [node for node in ast.parse(DOOR.read_text()).body if isinstance(node, ast.If)]
    seen = {
        (alias.asname, node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == set(adaswitch._WHERE.items())


def test_the_page_on_the_library_has_every_name() -> None:
    told = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/library.md").read_text(), re.MULTILINE))
    assert told == set(adaswitch.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(
        AttributeError, match=r"no attribute 'distill'; the public names are in adaswitch.__all__"
    ):
        _ = adaswitch.distill


def test_the_packages_are_typed() -> None:
    for package in ("adaswitch", "services", "trainer", "experiments"):
        assert (ROOT / package / "py.typed").is_file()


def notebook_cell() -> str:
    """The README's lines for a notebook."""
    [cell] = re.findall(
        r"^```python\n(import adaswitch\n.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S
    )
    return cell


def test_the_notebook_cell_is_ten_lines() -> None:
    assert len(notebook_cell().splitlines()) <= 10


async def test_the_readmes_lines_run_in_a_notebook(tmp_path, capsys) -> None:
    """In a running event loop, as a notebook has one; with fewer steps, and into a folder of the test's."""
    assert asyncio.get_running_loop().is_running()
    cell = notebook_cell()
    shorter = re.sub(r"trainer\.num_steps=\d+", "trainer.num_steps=3", cell)
    assert shorter != cell
    settings = f'"runs_dir={tmp_path}", "trainer.eval_prompts=20", "trainer.prompts_per_step=8", '
    names: dict[str, object] = {}
    exec(shorter.replace('"trainer.num_steps', f'{settings}"trainer.num_steps'), names)
    run = names["run"]
    assert isinstance(run, adaswitch.LocalResult)
    assert run.complete
    assert (run.checkpoint / "model.safetensors").is_file()
    assert run.before is not None
    assert run.after is not None
    assert "exact match" in capsys.readouterr().out
    assert len(run.rollouts(2)) == 8
    with pytest.raises(adaswitch.DataError, match=r"no rollouts of step 9 are kept; there are 3 steps"):
        run.rollouts(9)


def test_what_run_locally_is_given_is_looked_at_first() -> None:
    config = adaswitch.load_config(ROOT / "configs/demo.yaml")
    with pytest.raises(adaswitch.UserError, match="engine 'nope' is none of transformers, vllm"):
        adaswitch.run_locally(config, engine="nope")
    with pytest.raises(adaswitch.UserError, match=r"config is a dict: make it with adaswitch.load_config"):
        adaswitch.run_locally({"name": "a"})
    nobody = config.model_copy(update={"teacher": adaswitch.TeacherConfig()})
    with pytest.raises(adaswitch.UserError, match=r"teacher.serve: needed to run without services"):
        adaswitch.run_locally(nobody)
