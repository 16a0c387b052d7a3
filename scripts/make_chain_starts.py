"""Makes fresh students for comparisons on the chain task, at three levels of warm-up.

The demo's own student was chosen among many. A comparison needs starting students that were not chosen, one for
each seed. A student that exists already is left alone. Each student takes half a minute to two minutes on one core.

Example:

    python scripts/make_chain_starts.py --level warm --seeds 11 12 13 14 15
"""

import argparse
from dataclasses import replace
from pathlib import Path

LEVELS = {"cold": 100, "lukewarm": 200, "warm": 300}
"""By level: steps of supervised fine-tuning (SFT) on reference answers, with 48 fresh prompts in each step."""


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--level", choices=LEVELS, default="warm", help="how long the warm-up is (default: warm)"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", required=True, help="one student is made for each seed"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("models/starts"),
        help="folder for the students (default: models/starts)",
    )
    return parser.parse_args()


def main() -> None:
    """Make each student, and print how good it is."""
    arguments = parse_arguments()

    import torch
    from transformers.utils import logging

    from adaswitch.data.datasets import load_examples
    from adaswitch.tasks.chain import ChainTask
    from scripts.make_demo_models import STUDENT, make

    logging.disable_progress_bar()
    torch.set_num_threads(1)  # more threads would sum in another order, and give other weights
    for seed in arguments.seeds:
        recipe = replace(STUDENT, folder=f"{arguments.level}-{seed}", num_steps=LEVELS[arguments.level])
        folder = arguments.out / recipe.folder
        if (folder / "tokenizer_config.json").is_file():  # written last, so the student is complete
            print(f"{folder}: is there")
            continue
        held_out = load_examples(ChainTask(seed=seed), "eval")
        score = make(recipe, arguments.out, seed, held_out)
        print(f"{folder}: exact match {score:.3f} on n = {len(held_out)} held-out prompts", flush=True)


if __name__ == "__main__":
    main()
