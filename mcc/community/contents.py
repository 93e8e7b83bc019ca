"""The texts that the information page begins with. The office changes them in the registers.

None of them counts as confirmed: that is a person's of the office to say. What is there already is
left as people have made it.
"""

from __future__ import annotations

import datetime as dt

from mcc.community.models import Section

# The day on which the law was looked up for these texts.
CHECKED = dt.date(2026, 11, 29)
_PROJECT = "Kentongan"

_TEXTS = (
    (
        "numbers",
        10,
        "Nomor penting",
        "110: layanan darurat Polri, bebas pulsa.\n"
        "Nomor Polsek Anda ada di halaman ini, di bawah nama kecamatan Anda.",
        "Numbers to call",
        "110: the police emergency number, free of charge.\n"
        "Your Polsek's number is on this page, under the name of your kecamatan.",
    ),
    (
        "services",
        20,
        "Layanan kepolisian",
        "Laporan kehilangan dan laporan kejadian: datang ke SPKT di Polsek atau Polresta, kapan"
        " saja.\n"
        "SKCK: di Polsek atau Polresta pada jam kerja; bawa KTP dan kartu keluarga.\n"
        "Bhabinkamtibmas kelurahan Anda: tanyakan kepada ketua RW atau Polsek.",
        "Police services",
        "Reports of losses and incidents: at the SPKT of a Polsek or the Polresta, at any hour.\n"
        "Police record certificate (SKCK): at a Polsek or the Polresta in office hours; bring"
        " identity card and family card.\n"
        "The Bhabinkamtibmas of your kelurahan: ask the head of your RW or the Polsek.",
    ),
    (
        "law",
        30,
        "Laporan palsu: peringatan hukum",
        "Siapa yang memberitahukan kepada pejabat bahwa telah terjadi tindak pidana, padahal tahu"
        " bahwa itu tidak terjadi, diancam pidana penjara paling lama 1 tahun atau denda: KUHP"
        " (UU 1/2023) pasal 361, berlaku sejak 2 Januari 2026.\n"
        "UU ITE (UU 11/2008, terakhir diubah dengan UU 1/2024) pasal 28 melarang penyebaran berita"
        " bohong lewat sarana elektronik; ayat 3: yang menimbulkan kerusuhan di masyarakat.\n"
        "Salah tekan bukan laporan palsu. Takut salah bukan alasan untuk tidak menekan.\n"
        "Diperiksa 29 November 2026.",
        "False reports: what the law says",
        "Whoever tells an official that a crime has happened, and knows that it has not, faces up"
        " to 1 year in prison or a fine: Criminal Code (Law 1/2023) article 361, in force since"
        " 2 January 2026.\n"
        "The ITE Law (Law 11/2008, last changed by Law 1/2024) article 28 forbids spreading false"
        " news by electronic means; paragraph 3: news that causes unrest among the public.\n"
        "Pressing by mistake is no false report. Fear of being wrong is no reason not to press.\n"
        "Checked on 29 November 2026.",
    ),
)


def load() -> None:
    """Put what is missing into the register."""
    for slug, order, title, text, title_en, text_en in _TEXTS:
        Section.objects.get_or_create(
            slug=slug,
            defaults={
                "order": order,
                "title": title,
                "text": text,
                "title_en": title_en,
                "text_en": text_en,
                "as_of": CHECKED,
                "responsible": _PROJECT,
            },
        )
