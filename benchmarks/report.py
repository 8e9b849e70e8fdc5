"""From results to Markdown."""

from collections.abc import Sequence


def table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence]) -> str:
    """Return a Markdown table; a column is a heading and the format of its numbers."""
    aligned = ["---" if form == "s" else "---:" for _, form in columns]
    lines = [[heading for heading, _ in columns], aligned]
    for row in rows:
        cells = zip(columns, row, strict=True)
        lines.append(["" if value is None else format(value, form) for (_, form), value in cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def markdown(title: str, result: dict) -> str:
    """Return the page of one command's results."""
    parts = [f"# {title}\n"]
    parts += [f"{t['caption']}:\n\n{table(t['columns'], t['rows'])}" for t in result["tables"]]
    parts.append(
        "Figures:\n\n" + table([("figure", "s"), ("value", ".3f")], result["figures"].items())
    )
    parts.append(machine_paragraph(result["machine"], result["speed"]))
    return "\n".join(parts)


def machine_paragraph(machine: dict, speed: dict) -> str:
    """Return what the machine is, and its speed before and after the measurement."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    before, after = speed["before"], speed["after"]
    speeds = "; ".join(f"{before[name]:.0f} and {after[name]:.0f} {name}" for name in before)
    gpu = f"{machine['GPU']}; " if "GPU" in machine else ""
    return (
        f"{gpu}{machine['processor']}, {machine['cores']} cores, "
        f"vectors of {machine['vector bits']} bits, {machine['system']}. "
        f"{versions}. Images: {machine['images']}. Measured on {machine['date']}. "
        f"Speed of the machine before and after: {speeds}.\n"
    )
