/** Lists that are shown again and again: what stays keeps its elements, so that nobody loses the focus or what he is typing. */

const shown = new WeakMap();

/**
 * Show `items` as the children of `parent`, in this order. `keyOf` names an item; `make` gives `{ node, update }` for a new one,
 * and `update` gets each item of that name, also the first one.
 */
export function keyed(parent, items, keyOf, make) {
  const before = shown.get(parent) ?? new Map();
  const now = new Map();
  for (const item of items) {
    const key = keyOf(item);
    const row = before.get(key) ?? make(item);
    row.update(item);
    now.set(key, row);
  }
  for (const [key, row] of before) if (!now.has(key)) row.node.remove();
  let place = 0;
  for (const row of now.values()) {
    const there = parent.children[place] ?? null;
    if (there !== row.node) parent.insertBefore(row.node, there);
    place += 1;
  }
  shown.set(parent, now);
}
