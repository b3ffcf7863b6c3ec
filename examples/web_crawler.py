"""A crawler: finds all pages of a site, one after the other and then with tasks, and has to find the same ones.

    python examples/web_crawler.py [--pages N] [--workers N]

The site is served by this program itself, on a port of the loopback interface; each answer takes 30 ms, as if it came
from far away. A task fetches one page and returns its links; the driver knows which pages have been seen.
"""

import argparse
import http.server
import threading
import time
import urllib.parse
import urllib.request
from html.parser import HTMLParser

import trayray as ray

DELAY = 0.03


class Links(HTMLParser):
    """The targets of a page's links."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        if tag == "a":
            self.found += [target for name, target in attrs if name == "href"]


def site(pages):
    """A server of pages "/0" to "/n-1", each linking to three others; every page can be reached from "/0"."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            number = int(self.path[1:])
            time.sleep(DELAY)
            targets = {(2 * number + 1) % pages, (2 * number + 2) % pages, (number * number) % pages}
            body = "".join(f'<p><a href="{target}">page {target}</a></p>' for target in targets).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format, *args):  # noqa: A002 -- the standard library's name
            pass  # its default writes a line for each request

    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)


def fetch(url):
    """The address and those that its page links to."""
    with urllib.request.urlopen(url, timeout=10) as response:
        links = Links()
        links.feed(response.read().decode())
    return url, [urllib.parse.urljoin(url, target) for target in links.found]


fetch_remotely = ray.remote(max_retries=2, retry_exceptions=[OSError])(fetch)


def crawl(start):
    seen, waiting = {start}, [start]
    while waiting:
        _, targets = fetch(waiting.pop())
        new = set(targets) - seen
        seen |= new
        waiting += new
    return seen


def crawl_with_tasks(start):
    """Each page is fetched as soon as a link to it was seen, as many at once as there are CPUs."""
    seen, under_way = {start}, [fetch_remotely.remote(start)]
    while under_way:
        ready, under_way = ray.wait(under_way)
        for _, targets in ray.get(ready):
            new = set(targets) - seen
            seen |= new
            under_way += [fetch_remotely.remote(url) for url in new]
    return seen


def main():
    parser = argparse.ArgumentParser(description="Crawl a local site with and without tasks.")
    parser.add_argument("--pages", type=int, default=40)
    parser.add_argument("--workers", type=int, default=6, help="pages fetched at once; they wait more than they work")
    arguments = parser.parse_args()
    if arguments.pages < 1 or arguments.workers < 1:
        parser.error("--pages and --workers have to be at least 1")

    ray.init(address="local", num_cpus=arguments.workers, include_dashboard=False)
    server = site(arguments.pages)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        start = f"http://127.0.0.1:{server.server_port}/0"
        found = {}
        for name, way in (("one by one", crawl), ("with tasks", crawl_with_tasks)):
            begin = time.perf_counter()
            found[name] = way(start)
            print(f"{name}: {len(found[name])} pages in {time.perf_counter() - begin:.2f} s")
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
        ray.shutdown()
    if found["one by one"] != found["with tasks"] or len(found["with tasks"]) != arguments.pages:
        raise SystemExit(f"pages are missing: {found}")


if __name__ == "__main__":
    main()
