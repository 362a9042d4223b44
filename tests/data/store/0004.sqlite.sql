BEGIN TRANSACTION;
CREATE TABLE nexus_audit (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	op_id TEXT NOT NULL, 
	seq INTEGER NOT NULL, 
	"set" TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	name TEXT NOT NULL, 
	action TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	command TEXT NOT NULL, 
	begun_at VARCHAR(27) NOT NULL, 
	ended_at VARCHAR(27) NOT NULL, 
	outcome VARCHAR(8) NOT NULL, 
	error TEXT NOT NULL
);
INSERT INTO "nexus_audit" VALUES(1,'op2',1,'prod','Deployment','chat','{"start":"a"}','ann','apply','2026-01-01T00:00:00.000000Z','2026-01-01T00:00:00.000000Z','done','');
CREATE TABLE nexus_backoffs (
	"set" TEXT NOT NULL, 
	replica TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	name TEXT NOT NULL, 
	failures INTEGER NOT NULL, 
	run TEXT NOT NULL, 
	exit TEXT NOT NULL, 
	lines TEXT NOT NULL, 
	failed_at VARCHAR(27) NOT NULL, 
	next_at VARCHAR(27) NOT NULL, 
	ready_run TEXT NOT NULL, 
	ready_since VARCHAR(27), 
	PRIMARY KEY ("set", replica)
);
CREATE TABLE nexus_events (
	id BIGINT NOT NULL, 
	"set" TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	name TEXT NOT NULL, 
	generation INTEGER NOT NULL, 
	type VARCHAR(8) NOT NULL, 
	reason TEXT NOT NULL, 
	message TEXT NOT NULL, 
	op_id TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	count INTEGER NOT NULL, 
	first VARCHAR(27) NOT NULL, 
	last VARCHAR(27) NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "nexus_events" VALUES(2,'prod','Deployment','chat',2,'Warning','Unhealthy','no answer;
connection refused','op2','',2,'2026-01-01T00:00:00.000000Z','2026-01-01T00:00:00.000000Z');
CREATE TABLE nexus_journal (
	op_id TEXT NOT NULL, 
	seq INTEGER NOT NULL, 
	"set" TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	name TEXT NOT NULL, 
	action TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	command TEXT NOT NULL, 
	begun_at VARCHAR(27) NOT NULL, 
	PRIMARY KEY (op_id, seq)
);
INSERT INTO "nexus_journal" VALUES('op2',2,'prod','Deployment','chat','{"stop":"b"}','ann','apply','2026-01-01T00:00:00.000000Z');
CREATE TABLE nexus_meta (
	id INTEGER NOT NULL, 
	revision BIGINT NOT NULL, 
	event_id BIGINT NOT NULL, 
	written_by TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "nexus_meta" VALUES(1,6,2,'0.1.0');
CREATE TABLE nexus_objects (
	"set" TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	name TEXT NOT NULL, 
	generation INTEGER NOT NULL, 
	resource_version BIGINT NOT NULL, 
	spec TEXT NOT NULL, 
	spec_digest VARCHAR(64) NOT NULL, 
	labels TEXT NOT NULL, 
	annotations TEXT NOT NULL, 
	conditions TEXT NOT NULL, 
	lifecycle TEXT NOT NULL, 
	columns TEXT NOT NULL, 
	observed_generation INTEGER NOT NULL, 
	suspended_reason TEXT, 
	suspended_until VARCHAR(27), 
	former_names TEXT NOT NULL, 
	deletion_requested_at VARCHAR(27), 
	created_at VARCHAR(27) NOT NULL, 
	updated_at VARCHAR(27) NOT NULL, 
	PRIMARY KEY ("set", kind, name)
);
INSERT INTO "nexus_objects" VALUES('prod','Model','tiny',1,6,'{"source":{"path":"/models/tiny.gguf"}}','9ad3e4209bb4dabd','{"team":"a"}','{"nexusctl/protect":"delete"}','[]','','{}',0,'maintenance',NULL,'[]',NULL,'2026-01-01T00:00:00.000000Z','2026-01-01T00:00:00.000000Z');
INSERT INTO "nexus_objects" VALUES('prod','Deployment','chat',2,5,'{"engine":{"contextSize":4096},"model":"tiny"}','732c8a18a2d23450','{}','{}','[{"lastTransitionTime":"2026-01-01T00:00:00.000000Z","message":"1 of 1 replicas: ä, ''quoted''","observedGeneration":2,"reason":"Serving","status":"True","type":"Ready"}]','READY','{"GPU":"0"}',2,NULL,NULL,'["talk"]',NULL,'2026-01-01T00:00:00.000000Z','2026-01-01T00:00:00.000000Z');
CREATE TABLE nexus_ratings (
	"set" TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	stars INTEGER NOT NULL, 
	note TEXT NOT NULL, 
	at VARCHAR(27) NOT NULL, 
	PRIMARY KEY ("set", subject, actor)
);
CREATE TABLE nexus_reports (
	"key" VARCHAR(64) NOT NULL, 
	report TEXT NOT NULL, 
	at VARCHAR(27) NOT NULL, 
	PRIMARY KEY ("key")
);
CREATE TABLE nexus_revisions (
	"set" TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	name TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	generation INTEGER NOT NULL, 
	spec TEXT NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	cause TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	"commit" TEXT NOT NULL, 
	op_id TEXT NOT NULL, 
	created_at VARCHAR(27) NOT NULL, 
	result TEXT NOT NULL, 
	stable_since VARCHAR(27), 
	ready_since VARCHAR(27), 
	why TEXT DEFAULT '' NOT NULL, 
	PRIMARY KEY ("set", kind, name, number)
);
INSERT INTO "nexus_revisions" VALUES('prod','Model','tiny',1,1,'{"source":{"path":"/models/tiny.gguf"}}','9ad3e4209bb4dabd','apply','ann','4be19c2','op1','2026-01-01T00:00:00.000000Z','',NULL,NULL,'');
INSERT INTO "nexus_revisions" VALUES('prod','Deployment','chat',1,1,'{"engine":{"contextSize":2048},"model":"tiny"}','2b252a808aa7c2f4','apply','ann','4be19c2','op1','2026-01-01T00:00:00.000000Z','Succeeded','2026-01-01T00:00:00.000000Z',NULL,'');
INSERT INTO "nexus_revisions" VALUES('prod','Deployment','chat',2,2,'{"engine":{"contextSize":4096},"model":"tiny"}','732c8a18a2d23450','apply','ann','','op2','2026-01-01T00:00:00.000000Z','',NULL,NULL,'');
CREATE TABLE nexus_version (
	version_num VARCHAR(32) NOT NULL, 
	PRIMARY KEY (version_num)
);
INSERT INTO "nexus_version" VALUES('0004');
CREATE TABLE nexus_wishes (
	"set" TEXT NOT NULL, 
	settings TEXT NOT NULL, 
	PRIMARY KEY ("set")
);
CREATE UNIQUE INDEX nexus_audit_effect ON nexus_audit (op_id, seq);
CREATE INDEX nexus_events_about ON nexus_events ("set", kind, name, last);
CREATE INDEX nexus_events_last ON nexus_events (last);
COMMIT;
