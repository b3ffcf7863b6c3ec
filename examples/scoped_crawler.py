"""A crawler with deadlines: finds the pages of a site, gives up on those that take too long, and leaves nothing behind.

    python examples/scoped_crawler.py [--pages N] [--workers N] [--patience S]

The site is served by this program itself, in the same Trio loop; every seventh page does not answer for a minute. Pages
are fetched by plain blocking code in other processes: the deadline around a call interrupts it there. When the crawl is
over, the site has no connection left: everybody who was waiting for a slow page has gone.
"""

import argparse
import math
import re
import urllib.parse
import urllib.request
from functools import partial

import trio

import trayray

SLOW = 7


def is_slow(number):
    return number % SLOW == SLOW - 1


class Site:
    """Pages "/0" to "/n-1", each linking to some others; every page can be reached from "/0" by quick ones."""

    def __init__(self, pages):
        self.pages = pages
        self.connections = 0
        self.left_alone = trio.Event()

    def body(self, number):
        targets = {(number + step) % self.pages for step in (1, 2, number + 1)}
        return "".join(f'<a href="{target}">page {target}</a> ' for target in targets)

    async def serve(self, stream):
        """One connection: a request, its answer; it ends when the other side goes."""
        if not self.connections:
            self.left_alone = trio.Event()
        self.connections += 1
        try:
            async with stream:
                request = await stream.receive_some(4096)
                number = int(request.split()[1][1:])
                with trio.move_on_after(60 if is_slow(number) else 0.02):
                    await stream.receive_some(1)  # nothing comes any more: it returns when the other side has gone
                    return
                body = self.body(number)
                await stream.send_all(f"HTTP/1.0 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        finally:
            self.connections -= 1
            if not self.connections:
                self.left_alone.set()


@trayray.remote
def fetch(url):
    """The pages that a page links to. Blocking code that knows nothing of deadlines."""
    with urllib.request.urlopen(url) as response:
        text = response.read().decode()
    return [urllib.parse.urljoin(url, target) for target in re.findall(r'href="(.*?)"', text)]


class Crawl:
    """One crawl: what was found and what took too long."""

    def __init__(self, patience):
        self.patience = patience
        self.seen = set()
        self.late = set()

    async def visit(self, url, nursery):
        """Fetch one page, then the pages that it links to."""
        with trio.move_on_after(self.patience) as patience:
            for target in await trayray.call(fetch, url):
                if target not in self.seen:
                    self.seen.add(target)
                    nursery.start_soon(self.visit, target, nursery)
        if patience.cancelled_caught:
            self.late.add(url)

    async def run(self, start):
        self.seen.add(start)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.visit, start, nursery)


async def main(arguments):
    site = Site(arguments.pages)
    async with trayray.open_cluster(num_cpus=arguments.workers), trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, site.serve, 0, host="127.0.0.1"))
        start = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/0"
        crawl = Crawl(arguments.patience)
        begun = trio.current_time()
        with trio.fail_after(120):  # for all of it
            await crawl.run(start)
        took = trio.current_time() - begun
        with trio.fail_after(5):
            await site.left_alone.wait()  # the site has noticed too
        nursery.cancel_scope.cancel()

    slow = sum(map(is_slow, range(arguments.pages)))
    print(f"{len(crawl.seen)} pages found in {took:.1f} s, {len(crawl.late)} of them given up on, no connection left")
    if (len(crawl.seen), len(crawl.late)) != (arguments.pages, slow):
        raise SystemExit(f"{arguments.pages} pages were there, {slow} of them slow")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Crawl a local site, with a deadline for each page.")
    parser.add_argument("--pages", type=int, default=40)
    parser.add_argument("--workers", type=int, default=8, help="pages that are fetched at once")
    parser.add_argument(
        "--patience", type=float, default=2.0, help="seconds that a page may take, its queueing included"
    )
    given = parser.parse_args()
    if given.pages < 1 or given.workers < 1 or not 0 < given.patience < math.inf:
        parser.error("--pages and --workers have to be at least 1, --patience a positive number")
    trio.run(main, given)
