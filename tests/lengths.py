"""No function is longer than 450 tokens, and no file than 500 lines: a reader holds each in the head. Fails on a new one, and on an exception
that is none any more."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parents[1]
MOST_TOKENS, MOST_LINES = 450, 500
# Functions that are longer, with the reason; whoever splits one removes it here.
LONGER = {"ndjson/src/json.rs: skip_container": "looks at each byte of nested values once, with all that it knows in registers"}
COMMENT = r"//[^\n]*|/\*.*?\*/"
TEXT = r'(?:b|c)?r(#*)".*?"\1|b?c?"(?:\\.|[^"\\])*"' + r"|b?'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\])'"
WORD = r"'[A-Za-z_]\w*|[A-Za-z_]\w*|\d[\w.]*"
SIGN = r"::|->|=>|\.\.=|\.\.|==|!=|<=|>=|&&|\|\||<<=|>>=|<<|[-+*/%^&|]=|[^\s\w]"
TOKEN = re.compile(f"{COMMENT}|{TEXT}|{WORD}|{SIGN}", re.S)
TEST = ["#", "[", "cfg", "(", "test", ")", "]"]


def tokens(text):
    found = (match.group() for match in TOKEN.finditer(text))
    return [token for token in found if not token.startswith(("//", "/*"))]


def end_of_block(of, at):
    """Place after the block whose brace stands here."""
    depth = 0
    for place in range(at, len(of)):
        depth += (of[place] == "{") - (of[place] == "}")
        if depth == 0:
            return place + 1
    return len(of)


def body(of, at):
    """Place of the brace, semicolon or comma that ends the signature, field or variant here."""
    depth = 0
    while at < len(of) and (depth or of[at] not in "{};,"):
        depth += (of[at] in "([") - (of[at] in ")]")
        at += 1
    return at


def functions(of):
    """Names and lengths of functions, those of tests apart."""
    at = 0
    while at < len(of):
        if of[at : at + len(TEST)] == TEST:
            at = body(of, at + len(TEST))
            at = end_of_block(of, at) if at < len(of) and of[at] == "{" else at + 1
        elif of[at] == "fn" and at + 1 < len(of) and of[at + 1][0].isidentifier():
            begins = body(of, at)
            if begins < len(of) and of[begins] == "{":
                yield of[at + 1], end_of_block(of, begins) - at
            at += 1
        else:
            at += 1


def main():
    wrong, seen = [], set()
    for path in sorted([*ROOT.glob("*/src/**/*.rs"), *ROOT.glob("*/*/src/**/*.rs"), *ROOT.glob("tests/**/*.rs")]):
        name = path.relative_to(ROOT).as_posix()
        text = path.read_text()
        if text.count("\n") > MOST_LINES:
            wrong.append(f"{name} has {text.count(chr(10))} lines, more than {MOST_LINES}")
        if "/src/" not in name or name.startswith("benches/") or re.search(r"(^|[/_])tests(/|\.rs$)", name):
            continue
        for function, length in functions(tokens(text)):
            place = f"{name}: {function}"
            if length > MOST_TOKENS:
                seen.add(place)
                if place not in LONGER:
                    wrong.append(f"{place} has {length} tokens, more than {MOST_TOKENS}: give its parts names")
    wrong += [f"{place} is no longer than others: it is no exception any more" for place in LONGER if place not in seen]
    print("\n".join(wrong) or f"no other function has more than {MOST_TOKENS} tokens, and no file more than {MOST_LINES} lines")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
