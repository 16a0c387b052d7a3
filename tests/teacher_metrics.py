"""The teacher's metrics as rows of a table in Markdown."""

from prometheus_client.parser import text_string_to_metric_families


def rows(exposition: str) -> list[str]:
    """A row for each metric of ``exposition``, which must have samples of all: name, kind, labels, what it is."""
    found = []
    for family in text_string_to_metric_families(exposition):
        if family.name.endswith("_created"):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        [*labels] = {key: None for sample in family.samples for key in sample.labels if key != "le"}
        shown = ", ".join(f"`{label}`" for label in labels)
        found.append(f"| `{name}` | {family.type} | {shown} | {family.documentation} |")
    return found
