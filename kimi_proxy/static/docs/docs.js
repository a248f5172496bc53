// Gives the viewer the document, and shows event streams while they come: the viewer
// itself shows an answer once it is whole.
"use strict";

// Characters: a long answer must not fill the page's memory.
const MOST_SHOWN = 200_000;
const [stream, events, progress, stop, close] = [
  "stream", "events", "progress", "stop", "close",
].map((id) => document.getElementById(id));
const plainFetch = window.fetch.bind(window);
let running = new AbortController();

// Where the browser found this page is where the API is, whatever a proxy in between
// calls it.
const base = new URL(".", window.location.href);

window.fetch = async (...asked) => {
  const request = new Request(...asked);
  const calling = new AbortController();
  // What it shows is of an earlier call.
  stream.hidden = true;
  const answer = await plainFetch(request, { signal: calling.signal });
  const kind = answer.headers.get("content-type") ?? "";
  if (kind.startsWith("text/event-stream")) {
    running = calling;
    follow(answer.clone(), calling);
  }
  return answer;
};

async function follow(answer, calling) {
  const started = performance.now();
  const tell = (word) => {
    if (running === calling) {
      progress.textContent = `${word} ${((performance.now() - started) / 1000).toFixed(1)} s`;
    }
  };
  events.textContent = "";
  stream.hidden = false;
  stop.disabled = false;
  let shown = 0;
  try {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      if (running === calling && shown < MOST_SHOWN) {
        shown += next.value.length;
        events.append(next.value);
        events.scrollTop = events.scrollHeight;
      }
      tell("running");
    }
    tell("ended after");
  } catch {
    tell(calling.signal.aborted ? "stopped after" : "broken off after");
  }
  if (running === calling) stop.disabled = true;
}

stop.addEventListener("click", () => running.abort());
close.addEventListener("click", () => {
  stream.hidden = true;
});

const answer = await plainFetch(new URL("openapi.json", base));
const api = await answer.json();
api.servers = [{ url: base.href.replace(/\/$/, "") }];
await customElements.whenDefined("openapi-explorer");
const explorer = document.querySelector("openapi-explorer");
await explorer.loadSpec(api);
document.getElementById("key").addEventListener("input", (event) => {
  explorer.setAuthenticationConfiguration("bearer", { token: event.target.value });
});
if (window.location.hash) explorer.scrollTo(window.location.hash.slice(1));
