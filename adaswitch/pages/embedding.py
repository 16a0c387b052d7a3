"""Data as JSON that may stand inside an HTML page."""

import json


def embedded(value: object) -> str:
    """``value`` as JSON without any ``<``, so that no text in it can end the element that it stands in.

    Half a surrogate pair, which a tokenizer may give, is written as an escape, because it has no UTF-8.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return "".join(f"\\u{ord(c):04x}" if "\ud800" <= c <= "\udfff" else c for c in text)
