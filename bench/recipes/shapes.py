"""The sizes of the published models in the recipes, as their config.json gives them.

Shapes: d the width, V the rows of the embedding.
"""

from dataclasses import dataclass

from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError

BFLOAT16 = 2
"""Bytes of a number in the type that both models write and score in."""


@dataclass(frozen=True)
class Shape:
    """A decoder with gated feed-forward layers and a head that is its embedding."""

    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    has_attention_bias: bool = False

    @property
    def num_weights(self) -> int:
        """The number of all weights. A tied embedding counts once."""
        d, queries, keys = self.hidden_size, self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        attention = d * (queries + 2 * keys) + queries * d
        biases = queries + 2 * keys if self.has_attention_bias else 0
        layer = attention + biases + 3 * d * self.intermediate_size + 2 * d
        return self.vocab_size * d + self.num_layers * layer + d

    @property
    def cache_bytes(self) -> int:
        """Bytes of a token's keys and values in bfloat16."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * BFLOAT16


SHAPES = {
    "Qwen/Qwen2.5-0.5B-Instruct": Shape(896, 24, 14, 2, 64, 4_864, 151_936, has_attention_bias=True),
    "Qwen/Qwen2.5-3B-Instruct": Shape(2_048, 36, 16, 2, 128, 11_008, 151_936, has_attention_bias=True),
    "meta-llama/Llama-3.2-1B-Instruct": Shape(2_048, 16, 32, 8, 64, 8_192, 128_256),
    "meta-llama/Llama-3.2-3B-Instruct": Shape(3_072, 28, 24, 8, 128, 8_192, 128_256),
    "google/gemma-2b-it": Shape(2_048, 18, 8, 1, 256, 16_384, 256_000),
    "google/gemma-7b-it": Shape(3_072, 28, 16, 16, 256, 24_576, 256_000),
}
"""By their names on the hub."""


def pair_of(config: RunConfig) -> tuple[Shape, Shape]:
    """The teacher and the student of a recipe. Raises ``ConfigError`` if ``config`` names others, or no such models."""
    serve, warm = config.teacher.serve, config.warm_start
    names = (None if serve is None else serve.model, None if warm is None else warm.model)
    for setting, name in zip(("teacher.serve.model", "warm_start.model"), names, strict=True):
        if name not in SHAPES:
            raise ConfigError(
                f"{setting}: the sizes of {name} are not known: add them to bench/recipes/shapes.py"
            )
    return SHAPES[str(names[0])], SHAPES[str(names[1])]
