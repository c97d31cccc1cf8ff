#!/usr/bin/env python3
"""Checks comments, messages, test names and documents for phrases that are hard to read. Exit status 1 if it finds any.

Usage: check_prose.py [FILE or FOLDER ...]      (default: every file of the repository)
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# (pattern, what to write instead). Applied to one sentence-like piece of text at a time.
PHRASES = [
    (r"^(Of|But of|As of)\b(?! course)", "begin with a subject: 'Bytes per row', not 'Of a row'"),
    (r"^(What|Who|Whose|Whether to)\b(?! [a-z ]*\?)", "begin with a noun, not 'What ...'"),
    (r"(?<!there )\b(is|are|was|were|be) no (?!longer\b|more\b|less\b|fewer\b|faster\b|slower\b|better\b|worse\b|larger\b"
     r"|further\b|different\b|other\b)", "'is not a', not 'is no'"),
    (r"\bis none of\b", "'is not one of', or say what is expected"),
    (r"\bbehind\b", "'after'"),
    (r"\bso (many|much) (?!that\b|faster\b)", "'this many', or name the number"),
    (r"\bas many(?! [\w -]+ as\b| as\b)", "name the number"),
    (r"\b(whoever|whomever|whatever|whosoever)\b", "name the subject"),
    (r"\bfor the sake of\b", "'for', 'because of'"),
    (r"\breckon", "'calculate', 'estimate'"),
    (r"\b(somebody|nobody|everybody|anybody)\b", "name the reader, caller or thread"),
    (r"\bcosts?\b[^.;:]{0,40}\b(dB|points?|accuracy)\b", "'loses'"),
    (r"\b(tells|knows|told)\b", "'returns', 'contains', 'reports'"),
    (r"\bthe very (same|few|first)?\b", "leave out 'very'"),
    (r"\bbut for (the|a|an|its|their|those|that)\b", "'except for'"),
    (r"\bmak(es?|ing) up for\b", "'compensates'"),
    (r"\b(anew|amid|lest|hither|thereof|therein|ere|dearer)\b", "a plainer word"),
    (r"\bcomes? to lie\b|\bto speak of\b|\bto be had\b", "say it directly"),
    (r"\bleave off\b|\bweav(e|es|ing)\b|\bwoven\b", "a plainer word"),
]
TEST_NAMES = [(r"(^|_)(what|who|whom|whoever|whatever|behind|knows|tells|nobody|somebody)(_|$)", "state what is promised"),
              (r"(^|_)is_no_", "state what is promised")]

# Sentences in which a word is right. Each entry is a part of the sentence.
ALLOWED = [
    "what is promised", "says what was found",
    "as many requests as", "what to do",
]


def comments(text: str):
    """(line, text) of each // comment; consecutive comment lines form one."""
    i, line, found = 0, 1, []
    while i < len(text):
        c = text[i]
        if c == '"' or (c == "'" and not (i and text[i - 1].isalnum())):
            raw = re.match(r'"([^(\s"]*)\(', text[i:i + 20]) if c == '"' and i and text[i - 1] == "R" else None
            if raw:
                end = text.index(")" + raw.group(1) + '"', i) + len(raw.group(1)) + 2
            else:
                end = i + 1
                while end < len(text) and text[end] not in (c, "\n"):
                    end += 2 if text[end] == "\\" else 1
                end += 1
            if c == '"':
                yield line, "string", text[i + 1:end - 1]
            line += text.count("\n", i, end)
            i = end
        elif text.startswith("//", i):
            end = text.find("\n", i)
            end = len(text) if end < 0 else end
            begins_line = not text[text.rfind("\n", 0, i) + 1:i].strip()
            found.append((line, begins_line, re.sub(r"^//[/!]?<?\s?", "", text[i:end])))
            i = end
        else:
            line += c == "\n"
            i += 1
    at = None
    for number, begins_line, body in found:
        if at and begins_line and number == at[1] + 1:
            at[1], at[2] = number, at[2] + "\n" + body
            continue
        if at:
            yield at[0], "comment", at[2]
        at = [number, number, body]
    if at:
        yield at[0], "comment", at[2]


def pieces(path: Path, text: str):
    """(line, kind, text) of everything in a file that is prose."""
    if path.suffix in (".h", ".cpp"):
        yield from comments(text)
        for m in re.finditer(r"^TEST(?:_F|_P)?\(\w+,\s*(\w+)\)", text, re.M):
            yield text.count("\n", 0, m.start()) + 1, "test", m.group(1)
    elif path.suffix == ".md":
        line, block, in_code = 1, [], False
        for number, row in enumerate(text.split("\n") + [""], 1):
            if row.startswith("```"):
                in_code = not in_code
            plain = not in_code and row.strip() and not row.startswith("    ")
            if plain and not row.startswith(("|", "#", "-", "*")):
                block.append(row)
                continue
            if block:
                yield line, "document", "\n".join(block)
            block, line = [], number + 1
            if plain:
                if row.startswith("|"):
                    for cell in row.strip("|").split("|"):
                        yield number, "cell", cell.strip()
                else:
                    block, line = [row], number
    else:
        for m in re.finditer(r'^\s*("""(?P<doc>.*?)"""|#(?!!)(?P<comment>.*?)$)', text, re.M | re.S if path.suffix == ".py" else re.M):
            body = m.group("doc") if m.group("doc") is not None else m.group("comment") or ""
            yield text.count("\n", 0, m.start()) + 1, "comment", body.strip()
        for m in re.finditer(r"^def (test_\w+)", text, re.M):
            yield text.count("\n", 0, m.start()) + 1, "test", m.group(1)


def check(path: Path) -> int:
    found = 0
    if path.suffix in (".h", ".cpp"):  # clang-format leaves comments as they are
        for number, row in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            if len(row) > 120 and 'R"' not in row:
                print(f"{path.relative_to(ROOT)}:{number}: more than 120 columns")
                found += 1
    for line, kind, text in pieces(path, path.read_text(encoding="utf-8")):
        if kind == "string" and len(text.split()) < 3:
            continue
        rules = TEST_NAMES if kind == "test" else PHRASES
        for sentence in re.split(r"(?<=[.;:?!])\s+|\n\s*\n", text):
            sentence = " ".join(sentence.split())
            begins = text.lstrip().startswith(sentence[:20])
            for pattern, advice in rules:
                if pattern.startswith("^(") and kind != "test" and not (begins and kind == "comment"):
                    continue
                m = re.search(pattern, sentence, re.I if not pattern.startswith("^(") else 0)
                if m and not any(allowed in sentence for allowed in ALLOWED):
                    print(f"{path.relative_to(ROOT)}:{line}: '{m.group(0).strip()}' in \"{sentence[:100]}\": {advice}")
                    found += 1
    return found


def main() -> int:
    listing = ["git", "ls-files", "--", *sys.argv[1:]]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    wanted = [ROOT / name for name in names]
    skipped = (ROOT / "tools/check_prose.py",)
    found = sum(check(p) for p in wanted
                if p.is_file() and p not in skipped and "corpus" not in p.parts
                and (p.suffix in (".h", ".cpp", ".md", ".py", ".cmake", ".sh") or p.name in ("CMakeLists.txt", "dev", "lint", "run", "build")))
    print(f"prose: {found} phrases to rewrite")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
