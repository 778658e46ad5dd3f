"""Turns HTML, POD and OSIS into plain text whose paragraphs are separated by blank lines."""

import html
import re

_TOKEN = re.compile(r"<!--.*?-->|<[!?/]?[a-zA-Z][^>]*>|[^<]+|<", re.S)
_NAME = re.compile(r"</?([a-zA-Z][a-zA-Z0-9]*)")
_CLASS = re.compile(r'\b(?:class|id)="([^"]*)"')
_SKIP_TAGS = {"script", "style", "nav", "head", "footer", "svg", "form", "math"}
_SKIP_CLASSES = {"headerlink", "toctree-wrapper", "contents", "toc", "docnav", "clearer",
                 "viewcode-link", "footer", "banner", "related", "sphinxsidebar", "linenos",
                 "book-navigation", "indextable", "sectionauthor"}
_PARAGRAPH_TAGS = {"p", "div", "section", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote",
                   "ul", "ol", "dl", "dt", "dd", "table", "pre", "article", "figure", "hr",
                   "caption"}
_LINE_TAGS = {"br", "tr"}
_VOID_TAGS = {"br", "hr", "img", "input", "link", "meta", "col", "wbr"}


class _HtmlText:
    """A tolerant one-pass reader: keeps text, drops navigation, keeps <pre> as it stands."""

    def __init__(self):
        self.blocks = []
        self.inline = []
        self.pre_depth = 0
        self.skip_tag = None
        self.skip_depth = 0

    def flush(self):
        text = "".join(self.inline)
        self.inline = []
        lines = (re.sub(r"[ \t]+", " ", line).strip() for line in text.split("\v"))
        text = "\n".join(line for line in lines if line not in ("", "-"))
        if text:
            self.blocks.append(text)

    def flush_pre(self):
        lines = [line.rstrip() for line in "".join(self.inline).split("\n")]
        self.inline = []
        text = "\n".join(lines).strip("\n")
        if text.strip():
            self.blocks.append(text)

    def text(self, data):
        if self.skip_tag is None:
            data = html.unescape(data)
            self.inline.append(data if self.pre_depth else re.sub(r"\s+", " ", data))

    def open(self, name, token):
        if self.skip_tag is not None:
            self.skip_depth += name == self.skip_tag
            return
        classes = {word for value in _CLASS.findall(token) for word in value.split()}
        if name in _SKIP_TAGS or classes & _SKIP_CLASSES:
            if name not in _VOID_TAGS:
                self.skip_tag, self.skip_depth = name, 1
            return
        self.boundary(name)
        if name == "pre":
            self.pre_depth += 1
        elif name == "li":
            self.flush()
            self.inline.append("- ")

    def close(self, name):
        if self.skip_tag is not None:
            self.skip_depth -= name == self.skip_tag
            if self.skip_depth == 0:
                self.skip_tag = None
            return
        if name == "pre" and self.pre_depth:
            self.flush_pre()
            self.pre_depth -= 1
        else:
            self.boundary(name)

    def boundary(self, name):
        if self.pre_depth:
            if name == "br":
                self.inline.append("\n")
        elif name in _PARAGRAPH_TAGS:
            if "".join(self.inline).strip() != "-":
                self.flush()
        elif name in _LINE_TAGS:
            self.inline.append("\v")
        elif name in ("td", "th"):
            self.inline.append(" ")


def html_text(source, start="", end=""):
    """Plain text of the part of a page between the markers `start` and `end` (regexes)."""
    if start:
        match = re.search(start, source)
        if match is None:
            return ""
        source = source[match.start():]
    if end:
        source = re.split(end, source, maxsplit=1)[0]
    reader = _HtmlText()
    for match in _TOKEN.finditer(source):
        token = match.group()
        name = _NAME.match(token) if token[0] == "<" else None
        if name is None:
            if not token.startswith(("<!", "<?")):
                reader.text(token)
        elif token[1] == "/":
            reader.close(name.group(1).lower())
        else:
            reader.open(name.group(1).lower(), token)
    reader.flush()
    return "\n\n".join(reader.blocks)


_POD_ENTITY = {"lt": "\x01", "gt": "\x02", "sol": "/", "verbar": "|"}
_POD_WIDE = re.compile(r"([A-Z])(<<+)\s+(.*?)\s+(>>+)", re.S)
_POD_CODE = re.compile(r"([A-Z])<([^<>]*)>")


def _pod_code(letter, content):
    if letter in "XZ":
        return ""
    if letter == "E":
        if content in _POD_ENTITY:
            return _POD_ENTITY[content]
        return html.unescape(f"&{content};") if content.isalpha() else ""
    if letter == "L":
        text, bar, _ = content.partition("|")
        if bar or "://" in text:
            return text
        return text.strip("/").replace('"', "").replace("/", " / ")
    return content


def _pod_inline(text):
    protect = str.maketrans("<>", "\x01\x02")
    text = _POD_WIDE.sub(lambda m: _pod_code(m[1], m[3].translate(protect)), text)
    while True:
        replaced = _POD_CODE.sub(lambda m: _pod_code(m[1], m[2]), text)
        if replaced == text:
            break
        text = replaced
    return re.sub(r"\s+", " ", text).strip().translate(str.maketrans("\x01\x02", "<>"))


def _pod_block(paragraph):
    if paragraph[0] in " \t":
        return paragraph.expandtabs(8).rstrip()
    if paragraph[0] != "=":
        return _pod_inline(paragraph)
    command, _, rest = paragraph.partition(" ")
    if not command.startswith(("=head", "=item")):
        return ""
    rest = _pod_inline(rest)
    return "" if rest == "*" else rest.removeprefix("* ")


def pod_text(source):
    """Plain text of a POD page: formatting codes resolved, verbatim paragraphs kept."""
    blocks, skipped_format = [], False
    for paragraph in re.split(r"\n[ \t]*\n", source.replace("\r\n", "\n")):
        paragraph = paragraph.strip("\n")
        if paragraph.startswith(("=begin", "=end")):
            skipped_format = paragraph.startswith("=begin")
        elif not skipped_format and paragraph.strip():
            blocks.append(_pod_block(paragraph))
    return "\n\n".join(block for block in blocks if block)


def osis_text(source):
    """Plain text of OSIS (bible markup): notes dropped, paragraphs and verse lines kept."""
    source = re.sub(r"<note\b.*?</note>", "", source, flags=re.S)
    source = re.sub(r"<title\b.*?</title>", "", source, flags=re.S)
    source = re.sub(r'<(?:div|lg)\b[^>]*sID="gen[^>]*>', "\v\v", source)
    source = re.sub(r'<l\b[^>]*sID[^>]*>', "\v", source)
    source = html.unescape(re.sub(r"<[^>]*>", "", source)).replace("\u00b6", "")
    lines = [re.sub(r"\s+", " ", line).strip() for line in source.split("\v")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
