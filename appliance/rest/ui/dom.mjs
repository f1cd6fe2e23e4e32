/** Elements, made without markup: whatever a value says, it becomes text. */

/** An element with attributes and children. An attribute `on…` is a listener; one that is false, null or undefined is left out. */
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

/** Show a text in an element. Nothing is touched when it stands there already, so that nothing flickers. */
export function setText(node, text) {
  const wanted = String(text);
  if (node.textContent !== wanted) node.textContent = wanted;
}

/** The element of the page with this id. */
export function byId(id) {
  return document.getElementById(id);
}
