"""What a guide is made of: links, anchors, code."""
import re
from pathlib import Path


class Document:
    """A Markdown file, without what stands in comments."""

    def __init__(self, path: Path):
        self.path = path
        self.blocks = []  # (line, language, text)
        self.lines = []  # (number, text) outside of blocks
        language = None
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            fence = re.match(r"\s*(?:\d+\. |- )?```\s*(\S*)", line)
            if fence and language is None:
                language, begin, inside = fence[1], number, []
            elif fence:
                self.blocks.append((begin, language, "\n".join(inside) + "\n"))
                language = None
            elif language is not None:
                inside.append(line)
            else:
                self.lines.append((number, line))
        if language is not None:
            raise ValueError(f"{path}:{begin}: the block has no end")

    def code_spans(self):
        """(line, text) of `…` and ``…``, in the order of the file."""
        for number, line in self.lines:
            for span in re.finditer(r"(`+)(.+?)\1(?!`)", line):
                yield number, span[2].strip() if len(span[1]) > 1 else span[2]

    def links(self):
        """(line, target) of [text](target), <img src="target"> and srcset."""
        for number, line in self.lines:
            plain = re.sub(r"(`+)(.+?)\1(?!`)", "", line)
            for link in re.finditer(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"", plain):
                yield number, link[1] or link[2]
            for link in re.finditer(r"\]\(([^)\s]+)\)", line):  # whose text is code
                if link[0] not in plain:
                    yield number, link[1]

    def anchors(self):
        """As GitHub names them."""
        seen = {}
        for _, line in self.lines:
            heading = re.match(r"#+\s+(.*?)\s*#*$", line)
            if not heading:
                continue
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1].lower())
            anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            count = seen.get(anchor, 0)
            seen[anchor] = count + 1
            yield anchor if count == 0 else f"{anchor}-{count}"

    def section(self, heading):
        """Lines from the heading that has this name to the next one of its level or above."""
        level, out = None, []
        for number, line in self.lines:
            found = re.match(r"(#+)\s+(.*)", line)
            if found and level is None and heading in re.split(r",\s*", found[2]):
                level = len(found[1])
            elif found and level is not None and len(found[1]) <= level:
                break
            elif level is not None:
                out.append((number, line))
        return out
