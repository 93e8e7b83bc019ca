BEGIN TRANSACTION;
CREATE TABLE alarms (
	alarm_id TEXT NOT NULL, 
	post TEXT NOT NULL, 
	state TEXT NOT NULL, 
	live BOOLEAN NOT NULL, 
	settled_at TEXT, 
	raised_ms BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (alarm_id)
);
INSERT INTO "alarms" VALUES('00000001-0000-4000-8000-000000000000','mlg-test-rw01','received',1,NULL,1789999999000,'{"post":"mlg-test-rw01","alarm_id":"00000001-0000-4000-8000-000000000000","kind":"panic","state":"received","raised":{"at":"2026-09-21T14:13:19.000Z","known":"computed"},"boot_id":"00000000-0000-4000-8000-0000000000b0","presses_ms":[-800,-400,0],"location":{"lat":-7.944,"lon":112.611,"source":"surveyed"},"reached":{"received":{"at":"2026-09-21T14:13:20.000Z"}}}');
INSERT INTO "alarms" VALUES('00000002-0000-4000-8000-000000000000','mlg-test-rw01','resolved',0,NULL,1789999999000,'{"post":"mlg-test-rw01","alarm_id":"00000002-0000-4000-8000-000000000000","kind":"panic","state":"resolved","raised":{"at":"2026-09-21T14:13:19.000Z","known":"computed"},"boot_id":"00000000-0000-4000-8000-0000000000b0","presses_ms":[-800,-400,0],"location":{"lat":-7.944,"lon":112.611,"source":"surveyed"},"reached":{"received":{"at":"2026-09-21T14:13:20.000Z"},"resolved":{"at":"2026-09-21T14:13:20.000Z"}},"listed":false,"cleared":true}');
CREATE TABLE history (
	n INTEGER NOT NULL, 
	alarm_id TEXT NOT NULL, 
	at TEXT NOT NULL, 
	what TEXT NOT NULL, 
	"by" TEXT, 
	PRIMARY KEY (n)
);
INSERT INTO "history" VALUES(1,'00000001-0000-4000-8000-000000000000','2026-09-21T14:13:20.000Z','received',NULL);
INSERT INTO "history" VALUES(2,'00000002-0000-4000-8000-000000000000','2026-09-21T14:13:20.000Z','received',NULL);
INSERT INTO "history" VALUES(3,'00000002-0000-4000-8000-000000000000','2026-09-21T14:13:20.000Z','resolved',NULL);
CREATE TABLE meta (
	"key" TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('schema','1');
INSERT INTO "meta" VALUES('journal_id','a98bc63e-00b1-4c67-a4c2-1db0cae49cd8');
INSERT INTO "meta" VALUES('commits','3');
INSERT INTO "meta" VALUES('store_id','00000057-0000-4000-8000-000000000000');
CREATE INDEX ix_alarms_live ON alarms (live);
CREATE INDEX ix_alarms_raised_ms ON alarms (raised_ms);
CREATE INDEX ix_history_alarm_id ON history (alarm_id);
COMMIT;
