"""Whether two sides share a tokenizer: a hash of its vocabulary, compared at start.

Bodies on the wire hold token ids only, so equal ids must mean equal tokens. Padding rows of an embedding are no
tokens, so two models of one family that pad differently (Qwen2.5: 151,936 and 152,064 rows) have the same hash.
"""

import hashlib
import json
from collections.abc import Mapping

from adaswitch.errors import ModelError


def tokenizer_sha256(vocabulary: Mapping[str, int]) -> str:
    """The fingerprint of ``vocabulary`` (token text -> id), which is what ``tokenizer.get_vocab()`` returns."""
    entries = sorted(vocabulary.items(), key=lambda entry: (entry[1], entry[0]))
    return hashlib.sha256(json.dumps(entries, ensure_ascii=True).encode()).hexdigest()


def require_same_tokenizer(teacher: str, theirs: str, student: str, own: str) -> None:
    """Raises ``ModelError`` unless the fingerprint ``theirs``, of the teacher's tokenizer, is the student's ``own``.

    ``teacher`` is what the message calls the teacher, with the setting that names it; ``student`` is a folder.
    """
    if theirs != own:
        raise ModelError(
            f"{teacher} and the student {student!r} have different tokenizers ({theirs[:12]} and {own[:12]}): "
            "token ids would not mean the same; take a pair of one model family"
        )
