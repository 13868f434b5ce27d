// The REST API of the server that this page comes from. The token, where one is asked for, stays in this tab.

const TOKEN = "flow-token";

export class Refused extends Error {
  constructor(status, refusal) {
    super(refusal.message || `status ${status}`);
    this.status = status;
    this.hint = refusal.hint || "";
  }
}

export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (text) => sessionStorage.setItem(TOKEN, text),
  forget: () => sessionStorage.removeItem(TOKEN),
};

async function open(path, options = {}) {
  const headers = { ...options.headers };
  if (token.get()) headers.authorization = `Bearer ${token.get()}`;
  const response = await fetch(path, { ...options, headers, cache: "no-store" });
  if (response.ok) return response;
  const refusal = await response.json().catch(() => ({}));
  throw new Refused(response.status, refusal);
}

export async function get(path) {
  const response = await open(path, { signal: AbortSignal.timeout(10_000) });
  return response.json();
}

// Calls `event(name, data, id)` for each server-sent event of `path` behind the one with `lastId`, until the server ends the answer.
export async function follow(path, { signal, lastId, event }) {
  const headers = lastId === null ? {} : { "last-event-id": lastId };
  const response = await open(path, { signal, headers });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let fields = {};
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (fields.data !== undefined) event(fields.event || "message", fields.data, fields.id);
        fields = {};
        continue;
      }
      const colon = line.indexOf(":");
      if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).replace(/^ /, "");
    }
  }
}
