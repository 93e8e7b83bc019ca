"""Everything that `doctor` can say, in Indonesian and English: the one place for its words.

A code has one verdict. `{names}` are facts of the finding. The pages docs/doctor.id.md and
docs/doctor.en.md are made from this table, and a test holds both languages to the same facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Language = Literal["id", "en"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
Verdict = Literal["ok", "warning", "failure", "skipped"]

VERDICTS: dict[Verdict, dict[Language, str]] = {
    "ok": {"id": "OK", "en": "OK"},
    "warning": {"id": "AWAS", "en": "WARNING"},
    "failure": {"id": "GAGAL", "en": "FAILURE"},
    "skipped": {"id": "BELUM", "en": "SKIPPED"},
}

# In the order in which they are looked at.
CHECKS: dict[str, dict[Language, str]] = {
    "settings": {"id": "pengaturan", "en": "settings"},
    "service": {"id": "layanan", "en": "service"},
    "identity": {"id": "identitas", "en": "identity"},
    "register": {"id": "daftar", "en": "register"},
    "clock": {"id": "jam", "en": "clock"},
    "disk": {"id": "disk", "en": "disk"},
    "outbox": {"id": "kotak keluar", "en": "outbox"},
    "journal": {"id": "jurnal", "en": "journal"},
    "pins": {"id": "pin", "en": "pins"},
    "button": {"id": "tombol", "en": "button"},
    "inputs": {"id": "masukan", "en": "inputs"},
    "lamp": {"id": "lampu", "en": "lamp"},
    "buzzer": {"id": "buzzer", "en": "buzzer"},
    "gps": {"id": "GPS", "en": "GPS"},
    "dns": {"id": "DNS", "en": "DNS"},
    "tcp": {"id": "TCP", "en": "TCP"},
    "tls": {"id": "TLS", "en": "TLS"},
    "mqtt": {"id": "MQTT", "en": "MQTT"},
    "rules": {"id": "aturan broker", "en": "broker's rules"},
    "gateway": {"id": "gateway", "en": "gateway"},
    "mcc": {"id": "pusat komando", "en": "command centre"},
    "control": {"id": "soket kendali", "en": "control socket"},
}


@dataclass(frozen=True)
class Text:
    """What a code means and what to do about it."""

    verdict: Verdict
    means: dict[Language, str]
    do: dict[Language, str]


def _text(verdict: Verdict, means_id: str, means_en: str, do_id: str = "", do_en: str = "") -> Text:
    return Text(verdict, {"id": means_id, "en": means_en}, {"id": do_id, "en": do_en})


TEXTS: dict[str, Text] = {
    # --- settings and service ---------------------------------------------------------------
    "settings_ok": _text("ok", "{file} dapat dipakai", "{file} can be used"),
    "settings_wrong": _text(
        "failure",
        "{problem}",
        "{problem}",
        "perbaiki baris itu di berkas pengaturan, lalu periksa lagi",
        "mend that line of the settings, then look again",
    ),
    "service_running": _text("ok", "{unit} berjalan", "{unit} runs"),
    "service_stopped": _text(
        "warning",
        "{unit} tidak berjalan: selama itu tidak ada panggilan",
        "{unit} does not run: nobody can call meanwhile",
        "bila selesai: sudo systemctl start {unit}",
        "when you are done: sudo systemctl start {unit}",
    ),
    "service_failing": _text(
        "failure",
        "{unit} tidak sampai jalan (systemd: {state})",
        "{unit} does not come up (systemd: {state})",
        "baca sebabnya: journalctl -u {unit} -n 50; lalu sudo systemctl stop {unit} dan periksa"
        " lagi",
        "read why: journalctl -u {unit} -n 50; then sudo systemctl stop {unit} and look again",
    ),
    "service_hangs": _text(
        "failure",
        "{unit} sudah {age_s} detik tidak memberi kabar: ia macet",
        "{unit} has not given a sign for {age_s} s: it hangs",
        "sudo systemctl restart {unit}; simpan lognya: journalctl -u {unit}",
        "sudo systemctl restart {unit}; keep its log: journalctl -u {unit}",
    ),
    "service_unheard": _text(
        "warning",
        "{unit} berjalan, tetapi kabarnya tidak terbaca: {why}",
        "{unit} runs, but its status cannot be read: {why}",
        "jalankan dengan sudo; atau hentikan dulu: sudo systemctl stop {unit}",
        "run this with sudo; or stop it first: sudo systemctl stop {unit}",
    ),
    "fault_reported": _text(
        "warning",
        "layanan melaporkan gangguan {fault}",
        "the service reports the fault {fault}",
        "cari kata itu di halaman teknisi",
        "look that word up on the technician's page",
    ),
    "left_to_service": _text(
        "skipped",
        "tidak diperiksa, agar layanan yang berjalan tidak terganggu",
        "not looked at, so that the running service is not disturbed",
        "untuk memeriksanya: sudo systemctl stop {unit}, lalu doctor lagi",
        "to look at it: sudo systemctl stop {unit}, then doctor again",
    ),
    "left_after": _text(
        "skipped",
        "tidak diperiksa: yang sebelumnya gagal ({after})",
        "not looked at: what comes before it fails ({after})",
    ),
    "probe_silent": _text(
        "failure",
        "tidak ada jawaban dalam {seconds} detik",
        "no answer within {seconds} s",
        "periksa perangkat atau disk di baliknya; coba sekali lagi",
        "look at the device or disk behind it; try once more",
    ),
    "probe_broke": _text(
        "failure",
        "pemeriksaan ini sendiri gagal: {error}",
        "this check itself failed: {error}",
        "laporkan baris ini",
        "report this line",
    ),
    # --- identity ---------------------------------------------------------------------------
    "identity_ok": _text("ok", "{name}, berlaku sampai {until}", "{name}, valid until {until}"),
    "identity_undated": _text(
        "ok",
        "{name}; tanggalnya belum diperiksa karena jam belum cocok",
        "{name}; its dates are not checked while the clock is not set",
    ),
    "identity_not_needed": _text(
        "ok",
        "tanpa TLS di mesin ini sendiri: tidak perlu identitas",
        "without TLS on this machine itself: no identity is needed",
    ),
    "identity_none": _text(
        "warning",
        "tidak ada sertifikat di pengaturan; broker kita memintanya",
        "no certificate in the settings; our brokers ask for one",
        "pasang berkas bundel pos ini (unpack) dan isi certificate",
        "unpack the bundle made for it and set certificate",
    ),
    "file_missing": _text(
        "failure",
        "{file}: {why}",
        "{file}: {why}",
        "buka lagi bundelnya (unpack) ke tempat yang disebut pengaturan; cek pemilik berkas",
        "unpack the bundle again where the settings point; look at the file's owner",
    ),
    "denied": _text(
        "failure",
        "pengguna layanan ({user}) tidak boleh memakai {file}",
        "the service's user ({user}) may not use {file}",
        "sudo chown {user}: {file} (dan direktorinya); kunci tetap mode 600",
        "sudo chown {user}: {file} (and its directory); a key keeps mode 600",
    ),
    "identity_unreadable": _text(
        "failure",
        "{file} tidak berisi sertifikat dan kunci yang utuh",
        "{file} does not hold a whole certificate and key",
        "salin lagi bundelnya dan unpack",
        "copy the bundle again and unpack it",
    ),
    "key_mismatch": _text(
        "failure",
        "kunci di {file} bukan milik sertifikatnya",
        "the key in {file} does not belong to its certificate",
        "sertifikat dan kunci harus dari bundel yang sama; unpack lagi",
        "certificate and key must come from one bundle; unpack it again",
    ),
    "key_open": _text(
        "warning",
        "{file} berisi kunci dan bisa dibaca siapa saja (mode {mode})",
        "{file} holds a key and is open to others (mode {mode})",
        "chmod 600 {file}; bila orang lain sempat masuk, minta identitas baru",
        "chmod 600 {file}; if others have been here, ask for a new identity",
    ),
    "identity_other_name": _text(
        "failure",
        "sertifikat atas nama {name}, bukan {expected}",
        "the certificate is for {name}, not for {expected}",
        "ini bundel milik yang lain: pakai bundel {expected}",
        "this is somebody else's bundle: use the one of {expected}",
    ),
    "identity_other_ca": _text(
        "failure",
        "sertifikat {name} bukan dari otoritas di {ca}",
        "the certificate of {name} is not from the authority in {ca}",
        "ca dan sertifikat harus dari bundel yang sama; unpack lagi",
        "ca and certificate must come from one bundle; unpack it again",
    ),
    "identity_expired": _text(
        "failure",
        "sertifikat {name} berakhir {until}",
        "the certificate of {name} ended {until}",
        "minta bundel baru: kentongan-gateway provision (pos) atau renew",
        "have a new bundle made: kentongan-gateway provision (a post) or renew",
    ),
    "identity_not_yet": _text(
        "failure",
        "sertifikat {name} baru berlaku {since}",
        "the certificate of {name} is valid from {since} only",
        "cek tanggal mesin ini, dan mesin yang membuat sertifikat",
        "look at the date of this machine, and of the one that made it",
    ),
    "identity_ends_soon": _text(
        "warning",
        "sertifikat {name} berakhir {until}, {days} hari lagi",
        "the certificate of {name} ends {until}, in {days} days",
        "pos memperbaruinya sendiri bila terhubung; bila tidak: provision atau renew",
        "a post renews it by itself when connected; if it does not: provision or renew",
    ),
    "authority_ends_soon": _text(
        "warning",
        "otoritas di {ca} berakhir {until}, {days} hari lagi",
        "the authority in {ca} ends {until}, in {days} days",
        "rencanakan otoritas baru dan bundel baru untuk semua",
        "plan a new authority, and new bundles for everyone",
    ),
    "authority_expired": _text(
        "failure",
        "otoritas di {ca} berakhir {until}",
        "the authority in {ca} ended {until}",
        "otoritas baru dan bundel baru untuk semua diperlukan",
        "a new authority, and new bundles for everyone, are needed",
    ),
    "openssl_missing": _text(
        "failure",
        "program openssl tidak ada atau tidak menjawab",
        "the program openssl is missing or does not answer",
        "sudo apt-get install openssl",
        "sudo apt-get install openssl",
    ),
    # --- the gateway's register -------------------------------------------------------------
    "register_none": _text(
        "ok",
        "tidak ada: siapa pun yang diterima broker didengar",
        "there is none: whoever the broker lets in is heard",
    ),
    "register_ok": _text(
        "ok",
        "{names} nama; daftar cabut berlaku sampai {until}",
        "{names} names; list of revoked certificates valid until {until}",
    ),
    "register_unusable": _text(
        "failure",
        "{why}",
        "{why}",
        "cek [identities] directory dan hak aksesnya; pulihkan dari cadangan",
        "look at [identities] directory and its rights; restore it from a backup",
    ),
    "crl_ends_soon": _text(
        "warning",
        "daftar sertifikat yang dicabut berakhir {until}; setelah itu SEMUA ditolak",
        "the list of revoked certificates ends {until}; after that EVERYBODY is locked out",
        "gateway yang berjalan memperbaruinya; cek lognya (crl_renewed) dan jamnya",
        "a running gateway renews it; look at its log (crl_renewed) and its clock",
    ),
    "crl_over": _text(
        "failure",
        "daftar sertifikat yang dicabut sudah lewat ({until}): broker menolak semua",
        "the list of revoked certificates is over ({until}): brokers refuse everybody",
        "cek jam mesin ini dan jalankan gateway: ia menulisnya lagi dalam satu jam",
        "look at this machine's clock and run the gateway: it writes it anew within an hour",
    ),
    "crl_missing": _text(
        "failure",
        "daftar sertifikat yang dicabut tidak ada atau rusak",
        "the list of revoked certificates is missing or damaged",
        "jalankan gateway dengan jam yang benar: ia menulisnya lagi",
        "run the gateway with a right clock: it writes it anew",
    ),
    "broker_stale": _text(
        "warning",
        "daftar cabut di {directory} bukan yang dari daftar ini",
        "the list of revoked certificates in {directory} is not the register's",
        "jalankan gateway: ia menyalinnya ke broker; cek hak tulisnya di direktori itu",
        "run the gateway: it copies it to the broker; look at its right to write there",
    ),
    "identities_ending": _text(
        "warning",
        "{count} sertifikat segera berakhir: {names}",
        "{count} certificates end soon: {names}",
        "pos memperbarui sendiri bila terhubung; lainnya: kentongan-gateway renew",
        "posts renew by themselves when connected; the others: kentongan-gateway renew",
    ),
    # --- clock ------------------------------------------------------------------------------
    "clock_ok": _text("ok", "cocok, {at}", "synchronised, {at}"),
    "clock_unsynchronised": _text(
        "warning",
        "belum cocok (menunjukkan {at}): waktu alarm tidak bisa dipercaya",
        "not synchronised (it says {at}): the times of alarms cannot be believed",
        "perlu jaringan ke server waktu: timedatectl; UDP port 123 harus terbuka",
        "it needs a time server: timedatectl; UDP port 123 must be open",
    ),
    "clock_differs": _text(
        "warning",
        "berbeda {seconds} detik dari gateway",
        "{seconds} s away from the gateway's",
        "cek timedatectl di sini dan di gateway",
        "look at timedatectl here and at the gateway",
    ),
    # --- disk -------------------------------------------------------------------------------
    "disk_ok": _text(
        "ok",
        "{free_mb} MB bebas; tulis dan sync {write_ms} ms",
        "{free_mb} MB free; write and sync take {write_ms} ms",
    ),
    "disk_looked_at": _text("ok", "{free_mb} MB bebas", "{free_mb} MB free"),
    "disk_full": _text(
        "failure",
        "penuh: tidak ada yang bisa ditulis di {directory}",
        "full: nothing can be written in {directory}",
        "kosongkan: journalctl --vacuum-size=32M; hapus berkas yang bukan milik Kentongan",
        "make room: journalctl --vacuum-size=32M; remove what is not Kentongan's",
    ),
    "disk_small": _text(
        "warning",
        "tinggal {free_mb} MB di {directory}",
        "{free_mb} MB are left in {directory}",
        "kosongkan sebelum penuh: journalctl --vacuum-size=32M",
        "make room before it is full: journalctl --vacuum-size=32M",
    ),
    "disk_read_only": _text(
        "failure",
        "{directory} hanya bisa dibaca",
        "{directory} is read-only",
        "kartu yang rusak dibuat hanya-baca oleh kernel: dmesg; ganti kartunya",
        "the kernel makes a failing card read-only: dmesg; replace the card",
    ),
    "disk_denied": _text(
        "failure",
        "di {directory} tidak boleh menulis sebagai pengguna ini",
        "this user may not write in {directory}",
        "jalankan sebagai pengguna layanan: sudo -u kentongan; cek pemilik direktori",
        "run as the service's user: sudo -u kentongan; look at the directory's owner",
    ),
    "disk_failing": _text(
        "failure",
        "{directory}: {why}",
        "{directory}: {why}",
        "cek dmesg; ganti kartu atau disknya",
        "look at dmesg; replace the card or disk",
    ),
    "disk_hanging": _text(
        "failure",
        "layanan tidak mendapat jawaban dari disk",
        "the service gets no answer from its disk",
        "ganti kartu atau disknya; panggilan tetap keluar dari memori",
        "replace the card or disk; calls still go out from memory",
    ),
    "disk_slow": _text(
        "warning",
        "tulis dan sync memakan {write_ms} ms",
        "write and sync take {write_ms} ms",
        "kartu yang lambat segera rusak: ganti dengan kartu industri",
        "a card that is slow fails soon: replace it with an industrial one",
    ),
    "disk_errors": _text(
        "warning",
        "kernel mencatat {count} kesalahan di sistem berkas {device}",
        "the kernel has noted {count} errors in the file system {device}",
        "cadangkan, periksa dengan fsck, ganti kartunya",
        "back up, check it with fsck, replace the card",
    ),
    # --- outbox and journal -----------------------------------------------------------------
    "outbox_ok": _text("ok", "utuh; {alarms} alarm di dalamnya", "whole; {alarms} alarms in it"),
    "outbox_new": _text(
        "ok", "belum ada; dibuat saat pertama jalan", "not there yet; made at the first start"
    ),
    "outbox_damaged": _text(
        "failure",
        "{file} rusak: {why}",
        "{file} is damaged: {why}",
        "saat mulai layanan menyisihkannya dan menyelamatkan isinya; ganti kartunya",
        "at its start the service sets it aside and saves what it can; replace the card",
    ),
    "store_newer": _text(
        "failure",
        "{file} dari versi program yang lebih baru",
        "{file} is of a newer program's version",
        "pasang lagi versi program yang lebih baru itu",
        "install that newer version again",
    ),
    "store_foreign": _text(
        "failure",
        "{file} bukan berkas kita; dibiarkan apa adanya",
        "{file} is not a file of ours; it is left alone",
        "beri nama berkas sendiri di pengaturan",
        "name a file of its own in the settings",
    ),
    "store_unreadable": _text(
        "failure",
        "{file}: {why}",
        "{file}: {why}",
        "jalankan sebagai pengguna layanan: sudo -u kentongan; cek pemilik berkas",
        "run as the service's user: sudo -u kentongan; look at the file's owner",
    ),
    "store_set_aside": _text(
        "warning",
        "{count} berkas rusak dari dulu tersimpan di sebelah {file}",
        "{count} damaged files from earlier lie beside {file}",
        "kartu ini pernah rusak: ganti, lalu hapus berkas .damaged-*",
        "this card has failed before: replace it, then remove the .damaged-* files",
    ),
    "journal_ok": _text(
        "ok",
        "terbuka; id {journal_id}, {live} alarm berjalan",
        "opens; id {journal_id}, {live} live alarms",
    ),
    "journal_new": _text(
        "ok", "belum ada; dibuat saat pertama jalan", "not there yet; made at the first start"
    ),
    "journal_damaged": _text(
        "failure",
        "rusak: {why}",
        "damaged: {why}",
        "saat mulai gateway menyisihkannya dan membuat yang baru; pulihkan cadangan, ganti disk",
        "at its start the gateway sets it aside and begins anew; restore a backup, replace the"
        " disk",
    ),
    "journal_not_writable": _text(
        "failure",
        "tidak bisa ditulis: {why}",
        "cannot be written: {why}",
        "cek pemilik, hak akses dan ruang disk (PostgreSQL: hak pengguna)",
        "look at owner, rights and space (PostgreSQL: the user's rights)",
    ),
    "journal_unreachable": _text(
        "failure",
        "tidak dapat dibuka: {why}",
        "cannot be opened: {why}",
        "cek [journal] url dan apakah server basis datanya jalan",
        "look at [journal] url and whether its database server runs",
    ),
    # --- pins, button, lamp, buzzer ---------------------------------------------------------
    "pins_ok": _text("ok", "{count} pin bisa dipakai", "{count} pins are ours"),
    "pins_mock": _text(
        "warning",
        'pins = "mock": tidak ada tombol sungguhan yang tersambung',
        'pins = "mock": no real button is connected',
        "hanya untuk laptop; pada pos hapus baris itu dari [hardware] (di gateway: pins)",
        "for a laptop only; on a post take that line out of [hardware] (at a gateway: pins)",
    ),
    "pins_held": _text("ok", "dipakai layanan", "held by the service"),
    "pins_unavailable": _text(
        "failure",
        "{why}",
        "{why}",
        "nomor BCM di pengaturan, grup gpio, dan program lain: gpioinfo menyebut pemakainya",
        "BCM numbers in the settings, group gpio, other programs: gpioinfo names who has a line",
    ),
    "button_ok": _text("ok", "lepas, kabel baik", "open, wires well"),
    "button_closed": _text(
        "failure",
        "tertutup terus: tertekan, macet, atau kabelnya korslet",
        "it stays closed: pressed, stuck, or its wire is shorted",
        "lepaskan yang menekan; lepas kabel NO dari terminal: bila jadi OK, ganti tombol",
        "take away what leans on it; take the NO wire off: if that makes it OK, replace the button",
    ),
    "button_cut": _text(
        "failure",
        "kabel putus: kontak NO dan NC sama-sama terbuka",
        "a wire is cut: both contacts, NO and NC, are open",
        "cek terminal NC dan kabelnya; tekan sekali setelah diperbaiki",
        "look at the NC terminal and its wire; press once when mended",
    ),
    "button_short": _text(
        "failure",
        "kabel korslet: kontak NO dan NC sama-sama tertutup",
        "wires are shorted: both contacts, NO and NC, are closed",
        "cari kabel yang terjepit atau basah antara NO dan ground",
        "look for a squeezed or wet wire between NO and ground",
    ),
    "button_circuit_dead": _text(
        "failure",
        "sirkuit mati: uji mandiri harian tidak melihat denyut uji baliknya",
        "circuit dead: the daily self-test did not see the pulse of its loop-back",
        "cek kabel dan terminal NO serta uji baliknya; satu tekanan berbunyi klik menghapusnya",
        "look at the NO wire, its terminal and the loop-back; one press that clicks clears it",
    ),
    "button_worn": _text(
        "warning",
        "aus: kontaknya bergetar; masih memanggil",
        "worn: its contact chatters; it still calls",
        "ganti tombolnya segera",
        "replace the button soon",
    ),
    "lid_open": _text(
        "warning",
        "tutup kotak terbuka (tamper)",
        "the lid is open (tamper)",
        "tutup kotaknya; bila sudah tertutup, cek saklar dan kabelnya",
        "shut it; if it is shut, look at the switch and its wire",
    ),
    "mains_lost": _text(
        "warning",
        "listrik PLN tidak ada, jalan dengan baterai",
        "the mains is away, it runs on its battery",
        "cek steker, MCB dan kabel masukan listrik",
        "look at plug, breaker and the mains input's wire",
    ),
    "cancel_closed": _text(
        "warning",
        "kunci batal tertutup terus",
        "the cancel key stays closed",
        "putar kembali kuncinya; cek kabelnya",
        "turn the key back; look at its wire",
    ),
    "lamp_shown": _text(
        "ok",
        "menyala merah, hijau, lalu keduanya: lihat sendiri. Gelap? cek kabel dan transistor",
        "lit red, green, then both: see for yourself. Dark? look at wires and transistors",
    ),
    "lamp_refused": _text(
        "failure",
        "pin lampu menolak {count} perintah",
        "the lamp's pins refused {count} orders",
        "cek nomor pin [lamp] dan apakah program lain memakainya",
        "look at the [lamp] pins and whether another program has them",
    ),
    "buzzer_sounded": _text(
        "ok",
        "berbunyi dua pendek satu panjang: dengar sendiri. Diam? cek kabel dan transistor",
        "sounded two short, one long: hear for yourself. Silent? look at wires and transistor",
    ),
    "buzzer_tried": _text(
        "ok",
        "berbunyi satu pendek satu panjang: dengar sendiri. Diam? cek kabel dan transistor",
        "sounded one short, one long: hear for yourself. Silent? look at wires and transistor",
    ),
    "buzzer_refused": _text(
        "failure",
        "pin buzzer menolak {count} perintah",
        "the buzzer's pin refused {count} orders",
        "cek nomor pin [buzzer] dan apakah program lain memakainya",
        "look at the [buzzer] pin and whether another program has it",
    ),
    "buzzer_none": _text("ok", "tidak dipasang", "not fitted"),
    "buzzer_silent": _text("ok", "disetel diam; tidak dibunyikan", "set to silent; not sounded"),
    "buzzer_quiet": _text(
        "skipped",
        "tidak dibunyikan (--quiet)",
        "not sounded (--quiet)",
        "bunyikan sekali sebelum pergi: doctor tanpa --quiet, atau uji jalan",
        "let it sound once before you leave: doctor without --quiet, or a walk test",
    ),
    # --- GPS --------------------------------------------------------------------------------
    "gps_not_used": _text("ok", "tidak dipakai: lokasi dari survei", "not used: surveyed place"),
    "gps_fix": _text(
        "ok",
        "ada posisi, {satellites} satelit, {distance_m} m dari lokasi survei",
        "has a fix, {satellites} satellites, {distance_m} m from the surveyed place",
    ),
    "gps_served": _text("ok", "layanan punya posisi", "the service has a fix"),
    "gps_far": _text(
        "warning",
        "posisinya {distance_m} m dari lokasi survei di pengaturan",
        "its fix is {distance_m} m from the surveyed place in the settings",
        "salah satu keliru: ukur lagi lat dan lon di [location]",
        "one of them is wrong: measure lat and lon of [location] again",
    ),
    "gps_no_fix": _text(
        "warning",
        "{sentences} kalimat NMEA, tetapi belum ada posisi",
        "{sentences} NMEA sentences, but no fix",
        "antena harus melihat langit; penerima dingin perlu 15 menit",
        "the antenna must see the sky; a cold receiver takes 15 minutes",
    ),
    "gps_lost": _text(
        "warning",
        "layanan tidak punya posisi GPS; lokasi survei dipakai",
        "the service has no GPS fix; the surveyed place is used",
        "cek antena; hentikan layanan dan jalankan doctor lagi untuk rinciannya",
        "look at the antenna; stop the service and run doctor again for details",
    ),
    "gps_port": _text(
        "failure",
        "{device} tidak bisa dibuka: {why}",
        "{device} cannot be opened: {why}",
        "raspi-config: serial login tidak, hardware ya; grup dialout; [location] device",
        "raspi-config: serial login no, hardware yes; group dialout; [location] device",
    ),
    "gps_silent": _text(
        "failure",
        "{device} diam: tidak satu byte pun",
        "{device} is silent: not one byte",
        "cek daya penerima dan kabel TX-nya ke RX Pi",
        "look at the receiver's power and its TX wire to the Pi's RX",
    ),
    "gps_garbage": _text(
        "failure",
        "{device} memberi {bytes} byte tanpa satu kalimat NMEA utuh pada {baud} baud",
        "{device} gives {bytes} bytes without one whole NMEA sentence at {baud} baud",
        "baud yang salah? coba 4800, 38400 atau 115200 di [location] baud; atau kabel buruk",
        "a wrong baud? try 4800, 38400 or 115200 in [location] baud; or a bad wire",
    ),
    # --- network ----------------------------------------------------------------------------
    "dns_ok": _text("ok", "{host} = {addresses}", "{host} = {addresses}"),
    "dns_number": _text("ok", "{host} sudah berupa alamat", "{host} is an address"),
    "dns_failed": _text(
        "failure",
        "nama {host} tidak ditemukan: {why}",
        "the name {host} is not found: {why}",
        "cek ejaan di url, kabel jaringan, lalu server DNS: resolvectl atau /etc/resolv.conf",
        "look at the url's spelling, the network cable, then DNS: resolvectl or /etc/resolv.conf",
    ),
    "dns_silent": _text(
        "failure",
        "server DNS tidak menjawab dalam {seconds} detik",
        "no DNS server answers within {seconds} s",
        "cek kabel jaringan, router, lalu /etc/resolv.conf",
        "look at the network cable, the router, then /etc/resolv.conf",
    ),
    "tcp_ok": _text("ok", "{host}:{port} menjawab", "{host}:{port} answers"),
    "tcp_refused": _text(
        "failure",
        "{host}:{port} menolak: tidak ada broker di port itu",
        "{host}:{port} refuses: no broker at that port",
        "jalankan brokernya; cek port di url",
        "start the broker; look at the port in url",
    ),
    "tcp_silent": _text(
        "failure",
        "{host}:{port} tidak menjawab dalam {seconds} detik",
        "{host}:{port} does not answer within {seconds} s",
        "tembok api, VPN atau broker mati: coba ping {host} dan cek firewall",
        "a firewall, a VPN or a dead host: try ping {host} and look at the firewall",
    ),
    "tcp_unreachable": _text(
        "failure",
        "{host}:{port}: {why}",
        "{host}:{port}: {why}",
        "cek kabel jaringan, alamat IP (ip address) dan rute (ip route)",
        "look at the cable, the address (ip address) and the route (ip route)",
    ),
    "tls_ok": _text(
        "ok", "{version}, sertifikat broker benar", "{version}, the broker's certificate is right"
    ),
    "tls_undated": _text(
        "ok",
        "{version}; tanggal sertifikat broker belum diperiksa karena jam belum cocok",
        "{version}; the dates of the broker's certificate are not checked while the clock is not"
        " set",
    ),
    "tls_none": _text(
        "ok", "tidak dipakai di mesin ini sendiri", "not used on this machine itself"
    ),
    "tls_files": _text(
        "failure",
        "ca, certificate atau key tidak bisa dipakai: {why}",
        "ca, certificate or key cannot be used: {why}",
        "lihat pemeriksaan identitas di atas",
        "see the check of the identity above",
    ),
    "tls_plain": _text(
        "failure",
        "{host}:{port} tidak berbicara TLS",
        "{host}:{port} does not speak TLS",
        "port yang salah, atau broker tanpa TLS: buat konfigurasinya dengan broker-config",
        "the wrong port, or a broker without TLS: make its configuration with broker-config",
    ),
    "tls_name": _text(
        "failure",
        "sertifikat broker bukan untuk nama {host}",
        "the broker's certificate is not for the name {host}",
        "pakai di url nama yang ada di sertifikat broker, atau provision broker --host {host}",
        "use the name of the broker's certificate in url, or provision broker --host {host}",
    ),
    "tls_other_ca": _text(
        "failure",
        "sertifikat broker bukan dari otoritas kita: {why}",
        "the broker's certificate is not from our authority: {why}",
        "broker yang salah, atau ca yang salah: cek url dan ca",
        "the wrong broker, or the wrong ca: look at url and ca",
    ),
    "tls_expired": _text(
        "failure",
        "sertifikat broker sudah berakhir",
        "the broker's certificate has ended",
        "di gateway: kentongan-gateway renew untuk broker, lalu broker-config",
        "at the gateway: kentongan-gateway renew for the broker, then broker-config",
    ),
    "tls_not_yet": _text(
        "failure",
        "sertifikat broker belum berlaku",
        "the broker's certificate is not valid yet",
        "cek jam mesin ini dan jam gateway",
        "look at the clocks of this machine and of the gateway",
    ),
    "tls_refused_ours": _text(
        "failure",
        "broker menolak sertifikat kita: {why}",
        "the broker refuses our certificate: {why}",
        "dicabut, berakhir, atau dari otoritas lain: cek kentongan-gateway list; bundel terbaru",
        "revoked, over, or of another authority: look at kentongan-gateway list; newest bundle",
    ),
    "tls_broken": _text(
        "failure",
        "jabat tangan TLS gagal: {why}",
        "the TLS handshake fails: {why}",
        "cek konfigurasi broker (TLS 1.2 atau lebih) dan lognya",
        "look at the broker's configuration (TLS 1.2 or later) and log",
    ),
    # --- MQTT and beyond --------------------------------------------------------------------
    "mqtt_ok": _text("ok", "terhubung sebagai {client}", "connected as {client}"),
    "mqtt_down": _text(
        "failure",
        "layanan sekarang tidak terhubung",
        "the service is not connected now",
        "bila semua di atas OK: journalctl -u {unit} menyebut sebabnya (link_attempt_failed)",
        "if all above is OK: journalctl -u {unit} says why (link_attempt_failed)",
    ),
    "mqtt_refused": _text(
        "failure",
        "broker menolak {client}: {why}",
        "the broker refuses {client}: {why}",
        "identitas dicabut atau tidak dikenal broker: cek kentongan-gateway list",
        "revoked, or unknown to the broker: look at kentongan-gateway list",
    ),
    "mqtt_not_allowed": _text(
        "failure",
        "broker melarang {client}: {what} ({why})",
        "the broker does not allow {client}: {what} ({why})",
        "tidak terdaftar, dicabut, atau ACL lama: di gateway kentongan-gateway list dan"
        " broker-config",
        "not registered, revoked, or an old ACL: at the gateway kentongan-gateway list and"
        " broker-config",
    ),
    "mqtt_not_heard": _text(
        "failure",
        "broker menerima langganan {client} tetapi tidak mengirim apa-apa",
        "the broker takes the subscription of {client} and delivers nothing",
        "ACL tanpa hak baca: buat lagi konfigurasinya dengan broker-config",
        "an ACL without the right to read: make the configuration anew with broker-config",
    ),
    "mqtt_taken_over": _text(
        "failure",
        "perangkat lain terhubung sebagai {client}",
        "another device connects as {client}",
        "kartu SD yang disalin? Hanya satu pos boleh memakai satu identitas: provision lagi",
        "a copied card? One identity is for one post only: provision it again",
    ),
    "mqtt_cut": _text(
        "failure",
        "{client} terhubung, lalu diputus lagi dari seberang",
        "{client} was connected, and was cut off again from the other side",
        "kartu SD yang disalin memakai nama yang sama? Atau broker dimulai ulang: cek lognya",
        "a copied card with the same name? Or a broker that restarts: look at its log",
    ),
    "mqtt_lost": _text(
        "failure",
        "sambungan putus: {why}",
        "the connection broke: {why}",
        "cek log broker; port ini mungkin bukan MQTT",
        "look at the broker's log; this port may not be MQTT",
    ),
    "mqtt_silent": _text(
        "failure",
        "broker tidak menjawab dalam {seconds} detik",
        "the broker does not answer within {seconds} s",
        "broker macet atau port ini bukan MQTT: cek lognya",
        "the broker hangs, or this port is not MQTT: look at its log",
    ),
    "rules_ok": _text(
        "ok",
        "yang harus boleh boleh, yang lain ditolak",
        "what must be allowed is, something else is refused",
    ),
    "rules_open": _text(
        "warning",
        "broker menerima pesan yang tidak boleh ditulis siapa pun: tanpa ACL",
        "the broker takes a message that nobody may write: it has no ACL",
        "pakai konfigurasi dari kentongan-gateway broker-config",
        "use the configuration of kentongan-gateway broker-config",
    ),
    "gateway_answers": _text("ok", "menjawab dalam {ms} ms", "answers within {ms} ms"),
    "gateway_served": _text("ok", "menjawab layanan", "answers the service"),
    "gateway_silent": _text(
        "failure",
        "broker ada, gateway tidak menjawab",
        "the broker is there, the gateway does not answer",
        "jalankan gateway (systemctl status kentongan-gateway); apakah pos ini terdaftar"
        " (kentongan-gateway list)?",
        "start the gateway (systemctl status kentongan-gateway); is this post in its register"
        " (kentongan-gateway list)?",
    ),
    "mcc_answers": _text("ok", "menjawab gateway", "answers the gateway"),
    "mcc_silent": _text(
        "failure",
        "pusat komando tidak menjawab gateway: tidak ada yang melihat alarm",
        "the command centre does not answer the gateway: nobody would see an alarm",
        "telepon pusat komando; di sana: systemctl status kentongan-mcc",
        "phone the command centre; there: systemctl status kentongan-mcc",
    ),
    "mcc_beats": _text("ok", "{console} memberi detak", "{console} beats"),
    "mcc_other_beats": _text(
        "failure",
        "{console} tidak memberi detak, tetapi {others} ya",
        "{console} does not beat, but {others} does",
        "[mcc] receiver harus nama konsol yang menerima",
        "[mcc] receiver must be the name of the console that receives",
    ),
    "mcc_no_beat": _text(
        "failure",
        "tidak ada detak dari {console} dalam {seconds} detik",
        "no beat of {console} within {seconds} s",
        "telepon pusat komando; di sana: systemctl status kentongan-mcc; cek [mcc] receiver",
        "phone the command centre; there: systemctl status kentongan-mcc; look at [mcc] receiver",
    ),
    "mcc_no_receipts": _text(
        "ok",
        "penerima tanpa tanda terima: tidak ada detak",
        "a receiver without receipts: nobody beats",
    ),
    "control_none": _text("ok", "tidak dipakai", "not used"),
    "control_ok": _text("ok", "{socket} menjawab", "{socket} answers"),
    "control_not_yet": _text(
        "ok", "ada begitu layanan berjalan", "there as soon as the service runs"
    ),
    "control_missing": _text(
        "warning",
        "{socket} tidak menjawab: {why}",
        "{socket} does not answer: {why}",
        "uji jalan dari sini tidak bisa; cek [control] socket dan log (control_unavailable)",
        "no walk test from here; look at [control] socket and the log (control_unavailable)",
    ),
}
