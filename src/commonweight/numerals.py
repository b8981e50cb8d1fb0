"""Numbers in words and digits as a reader likes them: grouped, rounded, with a true minus sign."""

import math

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float, digits: int = 4) -> str:
    r"""A number to some significant digits.

    >>> number(-0.51234), number(2.5e-7), number(1234567.0), number(float("inf"))
    ('−0.5123', '2.5\xa0·\xa010⁻⁷', '1,234,567', '∞')
    """
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if value and not 1e-4 <= abs(value) < 1e9:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".")
        return f"{mantissa}\u00a0·\u00a010{str(int(exponent)).translate(_SUPERSCRIPT)}".replace("-", "−")
    places = max(digits - 1 - math.floor(math.log10(abs(value))), 0) if value else 0
    text = f"{value:,.{places}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")


def compact(value: int) -> str:
    """A count in three digits.

    >>> compact(156), compact(122304), compact(5_000_000)
    ('156', '122 k', '5 M')
    """
    for power, letter in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if value >= 10**power:
            return f"{number(value / 10**power, 3)} {letter}"
    return str(value)


def percent(share: float, places: int = 2) -> str:
    r"""A share of one.

    >>> percent(0.98765), percent(1.0), percent(0.99999)
    ('98.77\xa0%', '100\xa0%', '>\xa099.99\xa0%')
    """
    if not math.isfinite(share):
        return number(share)
    least = 0.1**places
    if 0 < 100 * share < least or 0 < 100 * (1 - share) < least:
        return f"<\u00a0{least:.{places}f}\u00a0%" if share < 0.5 else f">\u00a0{100 - least:.{places}f}\u00a0%"
    text = f"{100 * share:.{places}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}\u00a0%"


def times(factor: float) -> str:
    """How often.

    >>> times(784.0), times(5.68), times(1.0), times(1.007)
    ('784 times', '5.7 times', 'once', 'about once')
    """
    if factor == 1:
        return "once"
    told = number(factor, 2 if factor < 100 else len(str(int(factor))))
    return "about once" if told == "1" else f"{told} times"


def duration(seconds: float) -> str:
    """A time.

    >>> duration(3.14159), duration(125), duration(7380)
    ('3.14 s', '2 min 5 s', '2 h 3 min')
    """
    if not math.isfinite(seconds) or seconds < 60:
        return f"{number(seconds, 3)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def counted(count: int, noun: str) -> str:
    """A count with its noun.

    >>> counted(1, "image"), counted(2000, "image")
    ('1 image', '2,000 images')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def size(count: int) -> str:
    """A number of bytes for people.

    >>> size(999), size(1234567)
    ('999 bytes', '1.2 MB')
    """
    if count < 1000:
        return counted(count, "byte")
    power = min(int(math.log10(count)) // 3, 4)
    return f"{count / 1000**power:.1f} {('kB', 'MB', 'GB', 'TB')[power - 1]}"
