/** Numbers as people read them. */

const STEPS = ["", "k", "M", "G", "T", "P"];

/** A number with three digits and a letter: 1234 is "1.23 k". null, which is not known yet, is a dash. */
export function short(number) {
  if (number === null || number === undefined) return "–";
  let value = number;
  let step = 0;
  while (Math.abs(value) >= 999.5 && step < STEPS.length - 1) {
    value /= 1000;
    step += 1;
  }
  const digits = Number.isInteger(value) && step === 0 ? 0 : Math.abs(value) >= 99.95 ? 0 : Math.abs(value) >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)}${STEPS[step] ? ` ${STEPS[step]}` : ""}`;
}

/** A rate of bytes as bits per second. */
export function bits(bytesPerSecond) {
  if (bytesPerSecond === null || bytesPerSecond === undefined) return "–";
  const said = short(bytesPerSecond * 8);
  return `${said}${/[a-zA-Z]$/.test(said) ? "" : " "}bit/s`;
}

/** A whole number with its thousands apart. */
export function whole(number) {
  return String(number).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

/** A duration in seconds as "1 h 02 min", "3 min 04 s" or "5.6 s". */
export function duration(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  const two = (number) => String(number).padStart(2, "0");
  return minutes < 60
    ? `${minutes} min ${two(Math.floor(seconds % 60))} s`
    : `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

/** A moment, in seconds since the epoch, as the reader's clock shows it. */
export function clock(epochSeconds) {
  return new Date(epochSeconds * 1000).toLocaleString();
}
