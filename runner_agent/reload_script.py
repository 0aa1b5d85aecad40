"""The script in a page that loads it anew when there is something new to see. It keeps no state beside the page's mark.

While a tab is hidden it asks nothing: browsers open six connections to a host, and each open question holds one. Where the page
has a client that follows edits by itself, which keeps what the page holds, that client is left to it; but what was synced while
its connection was broken, with ours, or not open yet, it never hears of. A browser restores the place to which a page was
scrolled when it is loaded anew. The script's element is gone before the page's own scripts run, as some compare what is there
with what they made.

A frame leaves the question to the page around it, if that is of the same origin and as new: six frames that asked would hold all
connections. Where a policy in the page's HTML forbids the question, no more are asked after those that met it.
"""

from __future__ import annotations

SCRIPT = rb"""(() => {
  const own = document.currentScript, ask = self.fetch;
  const globals = /^(webpackHotUpdate|__next_f$|__NEXT_DATA__$|___browserSync___|LiveReload$|__turbopack)/;
  const clients = 'script[src*="/@vite/client"],script[src*="livereload.js"]';
  if (!own || !ask || self.__sandboxReload) return;
  own.remove();
  const known = own.dataset.follows;
  const follows = () => known || document.querySelector(clients) || Object.keys(self).some((name) => globals.test(name));
  let seen = own.dataset.seen, open = null, pause = 0, broken = -Infinity, first = "&first", forbidden = false;
  const inside = new Set();
  const news = (missed) => { // whether the page is loaded anew
    const anew = missed || !follows();
    if (anew) location.reload();
    else inside.forEach((tell) => tell(false));
    return anew;
  };
  self.__sandboxReload = { inside, seen: () => seen };
  const around = () => {
    try {
      return self !== parent && parent.__sandboxReload && parent.__sandboxReload.seen() === seen && parent.__sandboxReload.inside;
    } catch {
      return null; // of another origin
    }
  };
  const others = around();
  if (others) {
    others.add(news);
    addEventListener("pagehide", () => others.delete(news));
    addEventListener("pageshow", () => others.add(news));
    return;
  }
  document.addEventListener("securitypolicyviolation", (event) => {
    forbidden ||= event.disposition === "enforce" && event.blockedURI.startsWith(location.origin + "/.sandbox/");
  });
  const settling = 10000; // for such a client to be connected again
  const failed = () => { broken = performance.now(); pause = Math.min(5000, pause + 1000); };
  const look = async () => {
    if (document.hidden || open || forbidden) return;
    const mine = (open = new AbortController());
    let again = true;
    try {
      const question = "/.sandbox/changed?seen=" + encodeURIComponent(seen) + first;
      const answer = await ask(question, { cache: "no-store", signal: mine.signal });
      if (answer.status === 200) {
        const told = await answer.json();
        pause = 0;
        seen = told.mark;
        first = "";
        const missed = told.missed || performance.now() - broken < settling;
        if (told.new && news(missed)) return;
      } else {
        again = answer.status >= 500 || answer.status === 429;
        failed();
      }
    } catch {
      if (open === mine) failed();
    }
    if (open === mine) open = null;
    if (again) setTimeout(look, pause);
  };
  const leave = () => { if (open) open.abort(); open = null; };
  document.addEventListener("visibilitychange", () => (document.hidden ? leave() : look()));
  addEventListener("pagehide", leave);
  addEventListener("pageshow", look);
  look();
})();
"""
