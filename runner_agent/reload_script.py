"""The script in a page that loads it anew when there is something new to see. It keeps no state beside the page's mark.

While a tab is hidden it asks nothing: browsers open six connections to a host, and each open question holds one. Where the page
has a client that follows edits by itself, which keeps what the page holds, that client is left to it. Such a client does not hear
of edits while it is not connected: when the page has just begun, and after its connection broke, which ours did at the same time.
Some never connect again. So the script tells for how long it has been alone, and the agent, which sees connections being opened,
whether it still is. A page that stands for an error holds nothing, and such a client may have no part of the app in it to renew:
it is loaded anew. A browser restores the place to which a page was scrolled when it is loaded anew. The script's element is gone
before the page's own scripts run, as some compare what is there with what they made.
"""

from __future__ import annotations

SCRIPT = rb"""(() => {
  const own = document.currentScript, ask = self.fetch;
  const globals = /^(webpackHotUpdate|__next_f$|__NEXT_DATA__$|___browserSync___|LiveReload$|__turbopack)/;
  const clients = 'script[src*="/@vite/client"],script[src*="livereload.js"]';
  if (!own || !ask || self.__sandboxReload) return;
  self.__sandboxReload = true;
  own.remove();
  const { follows: told, failed: isError } = own.dataset;
  const global = () => Object.keys(self).some((name) => globals.test(name));
  const follows = () => !isError && (told || document.querySelector(clients) || global());
  let seen = own.dataset.seen, open = null, pause = 0;
  let alone = performance.now(), cut = false; // since when no client of the page's own is known to be connected
  const failed = () => { alone = performance.now(); cut = true; pause = Math.min(5000, pause + 1000); };
  const look = async () => {
    if (document.hidden || open) return;
    const mine = (open = new AbortController());
    let again = true;
    try {
      let question = "/.sandbox/changed?seen=" + encodeURIComponent(seen);
      if (alone !== null) question += "&alone=" + Math.round(performance.now() - alone);
      if (cut) question += "&now";
      const answer = await ask(question, { cache: "no-store", signal: mine.signal });
      if (answer.status === 200) {
        const news = await answer.json();
        pause = 0;
        seen = news.mark;
        const missed = news.missed || cut;
        if (!news.missed) alone = null;
        cut = false;
        if (news.new && (missed || !follows())) return location.reload();
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
