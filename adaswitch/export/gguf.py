"""A model folder as a GGUF file, for llama.cpp and what is built on it, by llama.cpp's own converter.

The package ``gguf`` writes such files and converts none. The converter is a program of llama.cpp, which knows each kind
of model and of tokenizer. It runs as a process of its own, in whatever environment it is installed in.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from adaswitch.errors import EnvironmentProblem, ModelError
from adaswitch.last_words import last_line

NAMES = ("convert_hf_to_gguf.py", "convert-hf-to-gguf")
"""The names of llama.cpp's converter, in its own folder and as packages install it."""
VARIABLE = "GGUF_CONVERTER"
FIX = (
    "get llama.cpp (https://github.com/ggml-org/llama.cpp), install the requirements of its convert_hf_to_gguf.py, and "
    f"put that program on the PATH, or set {VARIABLE} to it"
)


def find_converter() -> list[str]:
    """The command line of llama.cpp's converter. Raises ``EnvironmentProblem`` with the fix if there is none."""
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_file():
            raise EnvironmentProblem(f"--gguf: {VARIABLE} names {named}, which is no file: {FIX}")
        return _command(named)
    places = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
    for name in NAMES:
        if (found := shutil.which(name, path=places)) is not None:
            return [found]
    raise EnvironmentProblem(f"--gguf: llama.cpp's converter is not installed: {FIX}")


def _command(program: str) -> list[str]:
    return [program] if os.access(program, os.X_OK) else [sys.executable, program]


def convert(converter: list[str], folder: Path, file: Path) -> None:
    """Write the model in ``folder`` into the GGUF ``file``. Raises ``ModelError`` with the converter's last words."""
    command = [*converter, str(folder), "--outfile", str(file), "--outtype", "auto"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode or not file.is_file():
        said = last_line(done.stdout.decode(errors="replace")) or "it said nothing"
        raise ModelError(f"--gguf: {converter[-1]} failed: {said}")
