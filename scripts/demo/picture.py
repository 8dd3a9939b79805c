#!/usr/bin/env python3
"""Draws the end of a run of the demo, as the README shows it.

    make demo | tee run; scripts/demo/picture.py run >docs/images/demo.svg

Leaves out all before the accident, and what comes between the first return and the figures.
"""

import html
import re
import sys

PARTS = ("The accident", "The disaster", "Back again", "In numbers")
TITLE = (
    "The end of make demo: a table is emptied, the whole stack is killed and deleted; it comes back in order, every row, "
    "key and file is compared; the figures"
)
HEADING, COMMAND, DETAIL, GOOD, TEXT = "#ffb454", "#8fd3ff", "#b9bec9", "#a6e22e", "#d7dae0"


def chosen(lines):
    """The lines of the accident to the first return, and of the figures."""
    keep, shown = False, []
    for line in lines:
        if heading := re.match(r"\d+\. (.*)", line):
            keep = heading[1].startswith(PARTS)
        if keep:
            shown.append(re.sub(r"/var/tmp/rekindle-demo\.\w+/", "", line))
    return shown


def colour(line):
    if re.match(r"\d+\. ", line):
        return HEADING
    if line.startswith("$ "):
        return COMMAND
    if "identical" in line and not line.startswith("  ") or re.match(r"  rows .* 0$", line):
        return GOOD
    return DETAIL if line.startswith("  ") else TEXT


def main():
    with open(sys.argv[1], encoding="utf-8") as run:
        lines = chosen(re.sub(r"\x1b\[\d*m", "", line.rstrip("\n")) for line in run)
    width = round(40 + 8.43 * max(map(len, lines)))
    height = 32 + 18 * len(lines)
    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{TITLE}">'
    )
    print('<rect width="100%" height="100%" rx="8" fill="#14161b"/>')
    print(
        '<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,monospace" font-size="14">'
    )
    for number, line in enumerate(lines):
        place = f'x="20" y="{33.5 + 18 * number}"'
        # Browsers differ in whether they keep spaces that are only told to be kept.
        text = html.escape(line).replace(" ", "\u00a0")
        print(f'<text {place} fill="{colour(line)}">{text}</text>')
    print("</g>\n</svg>")


main()
