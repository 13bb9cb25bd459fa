// Words, numbers and times in the reader's language. The words are in words/en.js and words/ru.js.

export const LANGUAGES = { en: "English", ru: "Русский" };

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
const UNIT = { style: "unit", maximumSignificantDigits: 3 };
const SPANS = [
  ["year", 31_556_952],
  ["month", 2_629_746],
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
];

const speech = { language: "en", words: {} };

/** The language that was chosen here, else the browser's, else English. */
export function preferred() {
  const wanted = [localStorage.getItem("lang"), ...navigator.languages.map((name) => name.slice(0, 2))];
  return wanted.find((name) => name in LANGUAGES) ?? "en";
}

/** Speak this language from now on. */
export async function speak(language) {
  const { default: words } = await import(`./words/${language}.js`);
  Object.assign(speech, {
    language,
    words,
    plural: new Intl.PluralRules(language),
    order: new Intl.Collator(language, { numeric: true, sensitivity: "base" }),
    number: new Intl.NumberFormat(language),
    relative: new Intl.RelativeTimeFormat(language),
    moment: new Intl.DateTimeFormat(language, { dateStyle: "long", timeStyle: "medium" }),
    deadline: new Intl.DateTimeFormat(language, { weekday: "short", hour: "numeric", minute: "numeric" }),
    clock: new Intl.DateTimeFormat(language, { timeStyle: "short" }),
    units: UNITS.map((unit) => new Intl.NumberFormat(language, { ...UNIT, unit })),
  });
  document.documentElement.lang = language;
}

export const language = () => speech.language;

/** The text of a key; `{name}` in it is replaced, and `n` chooses the plural. */
export function t(key, values = {}) {
  return say(key, values).join("");
}

/** The same in pieces, for values that are templates. */
export function say(key, values = {}) {
  const found = speech.words[key] ?? key;
  const text = typeof found === "string" ? found : (found[speech.plural.select(values.n)] ?? found.other);
  return text.split(/\{(\w+)\}/).map((piece, at) => {
    if (at % 2 === 0) return piece;
    const value = values[piece];
    return typeof value === "number" ? number(value) : value;
  });
}

/** Whether there are words of this key. */
export const has = (key) => key in speech.words;

export const number = (value) => speech.number.format(value);

/** Natural order: 1.9 before 1.10. */
export const compare = (one, other) => speech.order.compare(one, other);

/** A size in units of 1000, as docker and the disk's maker have them. */
export function bytes(size) {
  if (size < 1000) return t("byte", { n: size });
  const power = Math.min(Math.floor(Math.log10(size) / 3), UNITS.length - 1);
  return speech.units[power].format(size / 1000 ** power);
}

/** "3 days ago". Both in seconds since 1970. */
export function ago(time, now) {
  const past = Math.max(now - time, 0);
  const [span, seconds] = SPANS.find(([, length]) => past >= length) ?? ["minute", 60];
  return past < 60 ? t("time.now") : speech.relative.format(-Math.floor(past / seconds), span);
}

/** The whole date and time, for who wants to know. */
export const moment = (time) => speech.moment.format(time * 1000);

/** A time of the next days. */
export const deadline = (time) => speech.deadline.format(time * 1000);

/** "10 minutes", "24 hours". */
export function span(seconds) {
  const unit = seconds < 7200 ? "minute" : "hour";
  const text = new Intl.NumberFormat(speech.language, { style: "unit", unit, unitDisplay: "long" });
  return text.format(Math.floor(seconds / (unit === "hour" ? 3600 : 60)));
}

export const clock = (time) => speech.clock.format(time * 1000);

/** Versions in natural order; a pre-release comes before its release. */
export function compareVersions(one, other) {
  const [base, mine] = parted(one);
  const [otherBase, theirs] = parted(other);
  return compare(base, otherBase) || Number(!mine) - Number(!theirs) || compare(mine, theirs) || compare(one, other);
}

/** "1.10.0-rc.1" as ["1.10.0", "rc.1"]. */
function parted(tag) {
  const cut = /^v?\d+(\.\d+)*-/.exec(tag)?.[0].length ?? 0;
  return cut ? [tag.slice(0, cut - 1), tag.slice(cut)] : [tag, ""];
}
