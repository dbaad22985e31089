"""A person with a browser, over plain HTTP: keeps cookies, follows redirects, fills in Latchkey's pages.

Cookies go by host and not by port, as in real ones: the applications here, all on 127.0.0.1, share what it is sent. It
runs no script but the one of a form_post page.
"""

import dataclasses
import html.parser
import http.cookiejar
import urllib.error
import urllib.parse
import urllib.request

SUBMITS_ITSELF = "document.forms[0].submit()"
REDIRECTS = 12


@dataclasses.dataclass
class Form:
    action: str
    fields: dict
    buttons: dict = dataclasses.field(default_factory=dict)  # id: its name and value, where it has them


class _Reader(html.parser.HTMLParser):
    """The forms of a page."""

    def __init__(self, text):
        super().__init__()
        self.forms, self.inside = [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        has = dict(attributes)
        if tag == "form":
            self.inside = Form(has.get("action", ""), {})
            self.forms.append(self.inside)
        elif self.inside and tag == "input" and has.get("name"):
            self.inside.fields[has["name"]] = has.get("value") or ""
        elif self.inside and tag == "button":
            self.inside.buttons[has.get("id")] = {has["name"]: has.get("value") or ""} if has.get("name") else {}

    def handle_endtag(self, tag):
        if tag == "form":
            self.inside = None


class Page:
    def __init__(self, method, url, status, headers, text):
        self.method, self.url, self.status, self.text = method, url, status, text
        self.location = urllib.parse.urljoin(url, headers["Location"]) if headers.get("Location") else None
        self.forms = _Reader(text).forms if "html" in headers.get("Content-Type", "") else []

    def asks(self):
        """The button that goes on, where Latchkey asks for something."""
        return next((id for id in ("sign-in", "allow", "confirm") if self.forms and id in self.forms[0].buttons), None)

    def __str__(self):
        return f"{self.method} {self.url}: {self.status} {self.text[:300]}"


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


class Browser:
    def __init__(self, username, password):
        self.username, self.password = username, password
        # path, name, value: what a parameter is changed to on its way to this path, as an attacker would.
        self.changes = None
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), cookies, _Stay)

    def open(self, url, until=None):
        """Goes where the address leads, up to the first page, or up to an address that begins with `until`."""
        page = self._send(url)
        for _ in range(REDIRECTS):
            if page.location and until and page.location.startswith(until):
                return page
            if page.location:
                page = self._send(page.location)
            elif page.forms and SUBMITS_ITSELF in page.text:
                page = self._send(page.forms[0].action, page.forms[0].fields)
            else:
                return page
        raise AssertionError(f"more than {REDIRECTS} redirects, at last to {page.url}")

    def go(self, url, until=None):
        """The same, and does what Latchkey's pages ask for. The last page, and what was asked."""
        asked, page = [], self.open(url, until)
        while button := page.asks():
            assert button not in asked, f"{button} is asked for again: {page}"
            asked.append(button)
            form = page.forms[0]
            typed = {"username": self.username, "password": self.password} if button == "sign-in" else {}
            page = self._send(urllib.parse.urljoin(page.url, form.action), form.fields | typed | form.buttons[button])
            if page.location and not (until and page.location.startswith(until)):
                page = self.open(page.location, until)
            elif page.forms and SUBMITS_ITSELF in page.text:
                page = self._send(page.forms[0].action, page.forms[0].fields)
        return page, asked

    def _send(self, url, fields=None):
        parts = urllib.parse.urlsplit(url)
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        if self.changes and parts.path == self.changes[0]:
            for members in filter(None, (query, fields)):
                if self.changes[1] in members:
                    members[self.changes[1]] = self.changes[2]
            url = parts._replace(query=urllib.parse.urlencode(query)).geturl()
        body = urllib.parse.urlencode(fields).encode() if fields is not None else None
        try:
            answer = self.opener.open(urllib.request.Request(url, body, {"Accept": "text/html,*/*;q=0.8"}), timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return Page("GET" if body is None else "POST", url, answer.status, answer.headers, answer.read().decode())
