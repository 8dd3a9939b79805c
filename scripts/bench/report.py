"""The results as tables in Markdown."""

from statistics import median

import limits

MIB = 1 << 20
RIVAL = "pgBackRest"

PHASES = {
    "full": ("First backup", "stored MiB"),
    "second": ("Second backup, after the churn", "added MiB"),
    "restore": ("Restore into an empty directory", None),
    "check": ("Check of all stored data", None),
}


def write(results, parts, cores, phases=None, rival=RIVAL):
    """Yields the lines of the report. `results` are dictionaries as `run.py` records them; `rival`
    begins the names of those that all are compared with."""
    for phase, (title, size) in (phases or PHASES).items():
        rows = [r for r in results if r["phase"] == phase]
        if rows:
            yield from phase_table(title, size, rows, rival)
            yield ""
    yield from limits_table(parts, cores)


def phase_table(title, size, rows, rival):
    names = list(dict.fromkeys(row["variant"] for row in rows))
    of = {name: summary([row for row in rows if row["variant"] == name]) for name in names}
    rivals = [of[name]["wall"] for name in names if name.startswith(rival)]
    columns = ["", "seconds", "spread", "MiB/s of source", *([size] if size else []),
               "CPU s", "+ server", "peak MiB", *([f"× best {rival}"] if rivals else [])]
    yield f"### {title}"
    yield ""
    yield "| " + " | ".join(columns) + " |"
    yield "|---" + "|---:" * (len(columns) - 1) + "|"
    for name in names:
        one = of[name]
        cells = [name, f"{one['wall']:.2f}", f"{one['least']:.2f}–{one['most']:.2f}",
                 f"{one['source'] / MIB / one['wall']:.0f}"]
        if size:
            cells.append(f"{one['stored'] / MIB:.0f}")
        cells += [f"{one['cpu']:.1f}", f"{one['server_cpu']:.1f}", f"{one['peak_rss'] / MIB:.0f}"]
        if rivals:
            cells.append(f"{min(rivals) / one['wall']:.2f}")
        yield "| " + " | ".join(cells) + " |"


def summary(rows):
    """Medians over the rounds, and the fastest and slowest of them."""
    walls = [row["wall"] for row in rows]
    medians = {key: median(row[key] for row in rows)
               for key in ("wall", "cpu", "server_cpu", "peak_rss", "source", "stored")}
    return {**medians, "least": min(walls), "most": max(walls)}


def limits_table(parts, cores):
    if not parts:
        return
    yield "### The limits here"
    yield ""
    yield "| one core | MiB/s |"
    yield "|---|---:|"
    for name in parts[0]:
        value = median(one[name] for one in parts)
        yield f"| {name} | {value:.1f} × |" if name == "ratio" else f"| {name} | {value:.0f} |"
    backup, restore = limits.bounds({name: median(one[name] for one in parts)
                                     for name in parts[0]}, cores)
    if backup:
        yield f"| **the parts of a backup, spread over {cores} cores** | **{backup:.0f}** |"
        yield f"| **the parts of a restore, spread over {cores} cores** | **{restore:.0f}** |"
