"""The script in a page that loads it anew when there is something new to see. It keeps no state beside the page's mark.

While a tab is hidden it asks nothing: browsers open six connections to a host, and each open question holds one. Where the page
has a client that follows edits by itself, which keeps what the page holds, that client is left to it. Such a client hears of no
edit before it is connected: so the script tells for how long the page has been there, and the agent, which sees connections being
opened, whether there was one since. Once connections broke, as ours did, nobody knows what such a client makes of it: some never
connect again, or for another purpose only. So the next edit loads the page anew. A page that stands for an error holds nothing,
and such a client may have no part of the app in it to renew: it is loaded anew.

A browser restores the place to which a page was scrolled when it is loaded anew. The script's element is gone before the page's
own scripts run, as some compare what is there with what they made.
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
  let young = true, cut = false;
  const begun = performance.now();
  const failed = () => { cut = true; pause = Math.min(5000, pause + 1000); };
  const look = async () => {
    if (document.hidden || open) return;
    const mine = (open = new AbortController());
    let again = true;
    try {
      let question = "/.sandbox/changed?seen=" + encodeURIComponent(seen);
      if (young) question += "&age=" + Math.round(performance.now() - begun);
      const answer = await ask(question, { cache: "no-store", signal: mine.signal });
      if (answer.status === 200) {
        const news = await answer.json();
        pause = 0;
        seen = news.mark;
        young = news.missed;
        if (news.new && (young || cut || !follows())) return location.reload();
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
