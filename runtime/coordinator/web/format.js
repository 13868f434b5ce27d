// Numbers, times and strangers' text as people read them. Touches no page.

const DECIMAL = ["", "k", "M", "G", "T"];
const BINARY = ["B", "KiB", "MiB", "GiB", "TiB"];

function scaled(number, step, units) {
  let unit = 0;
  while (number >= step && unit < units.length - 1) {
    number /= step;
    unit += 1;
  }
  return [number, units[unit], unit];
}

// Three digits: 0.31, 4.2, 31, 1.2k.
export function rate(perSecond) {
  if (perSecond === null) return "–";
  const [number, unit] = scaled(perSecond, 1000, DECIMAL);
  const digits = number === 0 || number >= 10 ? 0 : number >= 1 ? 1 : 2;
  return number.toFixed(digits) + unit;
}

export function count(number) {
  return number.toLocaleString("en").replaceAll(",", "\u202f");
}

export function bytes(number) {
  const [scale, unit, power] = scaled(number, 1024, BINARY);
  return `${scale.toFixed(power === 0 || scale >= 100 ? 0 : 1)} ${unit}`;
}

// A part of one, as whole percents.
export function percent(part) {
  if (part === null) return "–";
  if (part > 0 && part < 0.005) return "<1%";
  return `${Math.round(Math.min(part, 1) * 100)}%`;
}

export function duration(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} d`;
}

export function clock(ms) {
  const two = (number) => String(number).padStart(2, "0");
  const at = new Date(ms);
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

// What would end the line, or turn the direction of writing, as its escape: a line of a log stays one line.
export function oneLine(text) {
  const odd = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g;
  return text.replace(odd, (c) => (c === "\n" ? "\\n" : c === "\r" ? "\\r" : `\\u{${c.charCodeAt(0).toString(16)}}`));
}

export function shorten(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}
