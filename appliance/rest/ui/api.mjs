/** Requests to the API. */

/** A refusal. The message is what the API says. */
export class ApiError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** What a refusal says: the detail of a problem document (RFC 9457), else the text itself. */
export function detailOf(text, status) {
  try {
    return String(JSON.parse(text).detail);
  } catch {
    return text.trim() || `the API answered ${status}`;
  }
}

/** The place of the next page in a Link header (RFC 8288); empty when there is none. */
export function nextPlace(link) {
  const found = /<([^>]*)>\s*;[^,]*rel="?next"?/.exec(link ?? "");
  return found ? (new URL(found[1], "http://api.invalid").searchParams.get("after") ?? "") : "";
}

/** Ask the API; `{ data, headers }`. Throws ApiError for a refusal, and what fetch throws while the API cannot be reached. */
export async function ask(path, { method = "GET", body, headers = {} } = {}) {
  const type = body === undefined ? {} : { "Content-Type": "application/json" };
  const response = await fetch(path, {
    method,
    body: body === undefined ? undefined : JSON.stringify(body),
    headers: { ...headers, ...type, Accept: "application/json" },
    cache: "no-store",
  });
  const text = await response.text();
  if (!response.ok) throw new ApiError(response.status, detailOf(text, response.status));
  return { data: JSON.parse(text), headers: response.headers };
}
