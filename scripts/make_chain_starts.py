"""Makes fresh students for comparisons on the chain task, at three stages of warm-up.

The demo's own student was chosen among many; a comparison wants starts that nobody chose, one a seed. Those
that exist already are left alone. Half a minute to two minutes each, on one core.

Example:

    python scripts/make_chain_starts.py --level warm --seeds 11 12 13 14 15
"""

import argparse
from dataclasses import replace
from pathlib import Path

LEVELS = {"cold": 100, "lukewarm": 200, "warm": 300}
"""Steps of SFT on reference answers, 48 fresh prompts each."""


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--level", choices=LEVELS, default="warm", help="how long the warm-up was (warm)")
    parser.add_argument("--seeds", type=int, nargs="+", required=True, help="one student each")
    parser.add_argument(
        "--out", type=Path, default=Path("models/starts"), help="where they go (models/starts)"
    )
    return parser.parse_args()


def main() -> None:
    """Makes each student and says how good it is."""
    arguments = parse_arguments()

    import torch
    from transformers.utils import logging

    from adaswitch.config import ChainTaskConfig
    from adaswitch.data.datasets import load_examples
    from scripts.make_demo_models import STUDENT, make

    logging.disable_progress_bar()
    torch.set_num_threads(1)  # sums in another order would be other weights
    for seed in arguments.seeds:
        recipe = replace(STUDENT, folder=f"{arguments.level}-{seed}", num_steps=LEVELS[arguments.level])
        folder = arguments.out / recipe.folder
        if (folder / "tokenizer_config.json").is_file():  # the last file that is written
            print(f"{folder}: is there")
            continue
        held_out = load_examples(ChainTaskConfig(seed=seed), "eval")
        score = make(recipe, arguments.out, seed, held_out)
        print(f"{folder}: exact match {score:.3f} on n = {len(held_out)} held-out prompts", flush=True)


if __name__ == "__main__":
    main()
