"""What a card does with what it finds on its boot partition: which bundle it takes, what it wipes,
what it says to the technician.

Pure: `card.py` looks and carries out. A card that has an identity keeps it until a better bundle
lies there; nothing on the boot partition, or nothing good, never takes an identity away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from process.bundle import BUNDLE_BYTES_MAX, Bundle, Kind

Code = Literal[
    "no_bundle",
    "many_bundles",
    "damaged",
    "unfit",
    "settings_wrong",
    "identity_wrong",
    "network_wrong",
    "card_failing",
]
# The number of flashes is the place in this list: it stands on the technician's sheet, and stays.
CODES: tuple[Code, ...] = get_args(Code)
REASON_FILE = "KENTONGAN.txt"
# Both colours at once, which none of the four meanings has; about one flash a second to count by.
_FLASH_ON_MS, _FLASH_OFF_MS, _PAUSE_MS = 350, 450, 2_500


@dataclass(frozen=True)
class Words:
    """What a code means and what to do about it, in both languages."""

    means_id: str
    do_id: str
    means_en: str
    do_en: str


WORDS: dict[Code, Words] = {
    "no_bundle": Words(
        "tidak ada bundel di partisi boot",
        "salin berkas NAMA-POS.kentongan dari kantor ke partisi ini, di samping berkas ini",
        "there is no bundle on the boot partition",
        "copy the file POST-NAME.kentongan from the office here, beside this file",
    ),
    "many_bundles": Words(
        "ada lebih dari satu bundel; pos hanya punya satu nama",
        "tinggalkan satu saja, bundel pos ini, dan hapus yang lain",
        "there is more than one bundle, and a post has one name",
        "leave one alone, this post's, and delete the others",
    ),
    "damaged": Words(
        "bundel terpotong atau berubah saat disalin",
        "hapus, salin sekali lagi, lalu keluarkan kartu dengan benar (Eject) sebelum dicabut",
        "the bundle was cut short or changed when it was copied",
        "delete it, copy it again, and eject the card properly before you pull it out",
    ),
    "unfit": Words(
        "bundel ini bukan untuk pos, tidak lengkap, atau lebih baru daripada kartu ini",
        "mintalah bundel pos (kentongan-gateway provision post ...), atau tulis kartu yang baru",
        "this bundle is not for a post, lacks something, or is newer than this card",
        "ask for a post's bundle (kentongan-gateway provision post ...), or write a newer card",
    ),
    "settings_wrong": Words(
        "pengaturan pos di dalam bundel salah",
        "perbaiki wiring.toml di kantor sesuai alasan di atas, lalu mintalah bundel baru",
        "the post's settings in the bundle are wrong",
        "mend wiring.toml in the office as said above, then ask for a new bundle",
    ),
    "identity_wrong": Words(
        "sertifikat di dalam bundel bukan milik pos ini, kuncinya, atau otoritasnya",
        "mintalah bundel baru",
        "the certificate in the bundle is not this post's, its key's or its authority's",
        "ask for a new bundle",
    ),
    "network_wrong": Words(
        "pengaturan jaringan di dalam bundel salah",
        "perbaiki network.toml di kantor sesuai alasan di atas, lalu mintalah bundel baru",
        "the network settings in the bundle are wrong",
        "mend network.toml in the office as said above, then ask for a new bundle",
    ),
    "card_failing": Words(
        "kartu ini tidak dapat dibaca atau ditulis",
        "tulis kartu yang baru; yang ini rusak",
        "this card cannot be read or written",
        "write a new card; this one is failing",
    ),
}


@dataclass(frozen=True)
class Why:
    """The reason on this one card, in both languages; where there is only one, it is said twice."""

    en: str
    id: str


def same(text: str) -> Why:
    """What a program said, such as the name of a key and what is allowed there."""
    return Why(text, text)


# Copying again mends these; another bundle the rest.
_DAMAGED: frozenset[Kind] = frozenset({"unreadable", "large", "cut", "changed"})
_BUNDLE_ID: dict[Kind, str] = {
    "unreadable": "berkas itu tidak dapat dibaca",
    "large": f"lebih besar daripada {BUNDLE_BYTES_MAX // 1024} KiB, jadi bukan bundel",
    "cut": "bukan bundel, atau terpotong",
    "changed": "checksum-nya salah: isinya berubah",
    "newer": "versi bundel itu lebih baru daripada kartu ini",
    "shape": "utuh, tetapi isinya bukan isi sebuah bundel",
    "role": "dibuat untuk pihak lain (gateway, konsol, broker), bukan untuk pos",
}


def bundle_wrong(kind: Kind, said: str) -> tuple[Code, Why]:
    """Code and reason of a file that is no bundle for this card; `said` is in English."""
    return ("damaged" if kind in _DAMAGED else "unfit"), Why(said, _BUNDLE_ID[kind])


@dataclass(frozen=True)
class Standing:
    """The identity that the card has: whose, and from which bundle (SHA-256 of the file)."""

    post: str
    digest: str


@dataclass(frozen=True)
class Candidate:
    """A file that may be a bundle, as it was found: whole (`bundle`), or with what is wrong."""

    file: str
    digest: str
    bundle: Bundle | None = None
    wrong: tuple[Code, Why] | None = None

    def __post_init__(self) -> None:
        """One of the two, never both."""
        if (self.bundle is None) == (self.wrong is None):
            raise ValueError(f"{self.file}: good or bad?")


@dataclass(frozen=True)
class Decision:
    """Take this one, wipe these files, say this. `is_other`: it was another post before.

    `where`: the files or the place that `why` speaks of.
    """

    take: Candidate | None = None
    wipe: tuple[str, ...] = ()
    code: Code | None = None
    where: str = ""
    why: Why | None = None
    is_other: bool = False


def is_candidate(file: str) -> bool:
    """Whether a file's name says that somebody meant it as a bundle.

    Browsers and Windows add their own ends (`x.kentongan (1)`, `x.kentongan.txt`), and a Mac puts
    a shadow beside each file.
    """
    return ".kentongan" in file.lower() and not file.startswith(".")


def decide(candidates: Sequence[Candidate], standing: Standing | None) -> Decision:
    """The one place where it is decided which identity a card has."""
    known = None if standing is None else standing.digest
    # One that was taken before lies there still when the power failed before it was wiped.
    taken = tuple(one.file for one in candidates if one.digest == known)
    fresh = [one for one in candidates if one.digest != known]
    if not fresh:
        return Decision(wipe=taken, code="no_bundle" if standing is None else None)
    if len({one.digest for one in fresh}) > 1:
        names = ", ".join(sorted(one.file for one in fresh))
        return Decision(wipe=taken, code="many_bundles", where=names)
    first = fresh[0]
    if first.wrong is not None:
        code, why = first.wrong
        return Decision(wipe=taken, code=code, where=first.file, why=why)
    assert first.bundle is not None  # by Candidate
    return Decision(
        take=first,
        wipe=(*taken, *(one.file for one in fresh)),
        is_other=standing is not None and standing.post != first.bundle.name,
    )


def pattern(code: Code) -> tuple[tuple[bool, bool, int], ...]:
    """The lamp's pattern for a code: so many flashes of both colours, and a pause."""
    flashes = CODES.index(code) + 1
    steps = [(True, True, _FLASH_ON_MS), (False, False, _FLASH_OFF_MS)] * flashes
    return (*steps[:-1], (False, False, _PAUSE_MS))


def reason_text(decision: Decision, standing: Standing | None) -> bytes:
    """The text file for the technician's laptop: what, where, why, what to do, in both languages.

    For any editor: lines end as Windows wants.
    """
    assert decision.code is not None  # by the caller: there is something to say
    words, flashes = WORDS[decision.code], CODES.index(decision.code) + 1
    keeps_id = keeps_en = ""
    if standing is not None:
        keeps_id = f"Kartu ini tetap {standing.post}."
        keeps_en = f"This card stays {standing.post}."
    where, why = decision.where, decision.why or same("")
    lines = [
        f"KENTONGAN: kode {flashes} / code {flashes} ({decision.code})",
        "",
        f"Masalah: {words.means_id}.",
        f"Di mana: {where}" if where else "",
        f"Alasan:  {why.id}" if why.id else "",
        f"Lakukan: {words.do_id}.",
        keeps_id,
        "",
        f"Problem: {words.means_en}.",
        f"Where:   {where}" if where else "",
        f"Reason:  {why.en}" if why.en else "",
        f"Do:      {words.do_en}.",
        keeps_en,
    ]
    kept = [line for at, line in enumerate(lines) if line or at in (1, 7)]
    # A name on a FAT can hold half a character, which no encoding has.
    return ("\r\n".join(kept) + "\r\n").encode("utf-8", "replace")
