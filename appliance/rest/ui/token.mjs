/**
 * The token. It is kept in the memory of this page alone: what a browser stores, the next user of the browser has, and any page
 * that the API ever serves. A page that is loaded anew has none.
 */

import { ApiError, ask } from "./api.mjs";
import { byId, setText } from "./dom.mjs";

let token = "";
let onChange = () => {};

/** The headers of each request. */
export function headers() {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** Ask the API with the token that there is. */
export function asked(path, options = {}) {
  return ask(path, { ...options, headers: headers() });
}

/** Change something. Without a token nothing is sent: the page asks for one, and throws ApiError. */
export function changed(path, options) {
  if (!token) {
    open("A change needs a token that may write. Nothing was changed.");
    throw new ApiError(0, "not changed: this page has no token");
  }
  return asked(path, options);
}

/** Ask for a token, and say why. */
export function open(why) {
  setText(byId("token-why"), why);
  if (!byId("token-dialog").open) byId("token-dialog").showModal();
  byId("token").focus();
}

/** Make the dialog work. `changed` is called when there is another token, or none any more. */
export function start(changed) {
  onChange = changed;
  byId("token-button").addEventListener("click", () => (token ? give("") : open("")));
  byId("token-cancel").addEventListener("click", () => byId("token-dialog").close());
  byId("token-dialog").addEventListener("close", () => { byId("token").value = ""; });
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    tryToken(byId("token").value.trim());
  });
}

/** Take a token when the API knows it. */
async function tryToken(given) {
  setText(byId("token-why"), "");
  try {
    await ask("/samples", { headers: { Authorization: `Bearer ${given}` } });
  } catch (error) {
    setText(byId("token-why"), error.message);
    return;
  }
  byId("token-dialog").close();
  give(given);
}

function give(given) {
  token = given;
  setText(byId("token-button"), token ? "Forget the token" : "Give a token");
  setText(byId("rights"), token ? "with a token" : "read-only");
  onChange();
}
