/** Sparklines: the last minute of a rate, in the height of a line. */

const SVG = "http://www.w3.org/2000/svg";
export const WIDTH = 96;
export const HEIGHT = 20;

/** The path of a line through these numbers; the newest one is at the right end. null is drawn as 0. Empty for less than two. */
export function path(numbers, places = 60) {
  if (numbers.length < 2) return "";
  const shown = numbers.slice(-places).map((number) => number ?? 0);
  const most = Math.max(...shown, Number.MIN_VALUE);
  const step = WIDTH / (places - 1);
  const first = WIDTH - (shown.length - 1) * step;
  const points = shown.map((number, place) => {
    const x = first + place * step;
    const y = HEIGHT - 1 - (number / most) * (HEIGHT - 2);
    return `${x.toFixed(1)} ${y.toFixed(1)}`;
  });
  return `M${points.join("L")}`;
}

/** A sparkline: `{ node, show }`. Readers of screens have the number beside it. */
export function spark() {
  const node = document.createElementNS(SVG, "svg");
  node.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  node.setAttribute("class", "spark");
  node.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "path");
  node.append(line);
  return { node, show: (numbers) => line.setAttribute("d", path(numbers)) };
}
