SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.nexus_audit (
    id bigint NOT NULL,
    op_id text NOT NULL,
    seq integer NOT NULL,
    set text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    action text NOT NULL,
    actor text NOT NULL,
    command text NOT NULL,
    begun_at character varying(27) NOT NULL,
    ended_at character varying(27) NOT NULL,
    outcome character varying(8) NOT NULL,
    error text NOT NULL
);
CREATE SEQUENCE public.nexus_audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.nexus_audit_id_seq OWNED BY public.nexus_audit.id;
CREATE TABLE public.nexus_backoffs (
    set text NOT NULL,
    replica text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    failures integer NOT NULL,
    run text NOT NULL,
    exit text NOT NULL,
    lines text NOT NULL,
    failed_at character varying(27) NOT NULL,
    next_at character varying(27) NOT NULL,
    ready_run text NOT NULL,
    ready_since character varying(27)
);
CREATE TABLE public.nexus_events (
    id bigint NOT NULL,
    set text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    generation integer NOT NULL,
    type character varying(8) NOT NULL,
    reason text NOT NULL,
    message text NOT NULL,
    op_id text NOT NULL,
    actor text NOT NULL,
    count integer NOT NULL,
    first character varying(27) NOT NULL,
    last character varying(27) NOT NULL
);
CREATE TABLE public.nexus_journal (
    op_id text NOT NULL,
    seq integer NOT NULL,
    set text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    action text NOT NULL,
    actor text NOT NULL,
    command text NOT NULL,
    begun_at character varying(27) NOT NULL
);
CREATE TABLE public.nexus_meta (
    id integer NOT NULL,
    revision bigint NOT NULL,
    event_id bigint NOT NULL,
    written_by text NOT NULL
);
CREATE TABLE public.nexus_objects (
    set text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    generation integer NOT NULL,
    resource_version bigint NOT NULL,
    spec text NOT NULL,
    spec_digest character varying(64) NOT NULL,
    labels text NOT NULL,
    annotations text NOT NULL,
    conditions text NOT NULL,
    lifecycle text NOT NULL,
    columns text NOT NULL,
    observed_generation integer NOT NULL,
    suspended_reason text,
    suspended_until character varying(27),
    former_names text NOT NULL,
    deletion_requested_at character varying(27),
    created_at character varying(27) NOT NULL,
    updated_at character varying(27) NOT NULL
);
CREATE TABLE public.nexus_ratings (
    set text NOT NULL,
    subject text NOT NULL,
    actor text NOT NULL,
    stars integer NOT NULL,
    note text NOT NULL,
    at character varying(27) NOT NULL
);
CREATE TABLE public.nexus_reports (
    key character varying(64) NOT NULL,
    report text NOT NULL,
    at character varying(27) NOT NULL
);
CREATE TABLE public.nexus_revisions (
    set text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    number integer NOT NULL,
    generation integer NOT NULL,
    spec text NOT NULL,
    digest character varying(64) NOT NULL,
    cause text NOT NULL,
    actor text NOT NULL,
    commit text NOT NULL,
    op_id text NOT NULL,
    created_at character varying(27) NOT NULL,
    result text NOT NULL,
    stable_since character varying(27),
    ready_since character varying(27),
    why text DEFAULT ''::text NOT NULL
);
CREATE TABLE public.nexus_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.nexus_wishes (
    set text NOT NULL,
    settings text NOT NULL
);
ALTER TABLE ONLY public.nexus_audit ALTER COLUMN id SET DEFAULT nextval('public.nexus_audit_id_seq'::regclass);
INSERT INTO public.nexus_audit VALUES (1, 'op2', 1, 'prod', 'Deployment', 'chat', '{"start":"a"}', 'ann', 'apply', '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z', 'done', '');
INSERT INTO public.nexus_events VALUES (2, 'prod', 'Deployment', 'chat', 2, 'Warning', 'Unhealthy', 'no answer;
connection refused', 'op2', '', 2, '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z');
INSERT INTO public.nexus_journal VALUES ('op2', 2, 'prod', 'Deployment', 'chat', '{"stop":"b"}', 'ann', 'apply', '2026-01-01T00:00:00.000000Z');
INSERT INTO public.nexus_meta VALUES (1, 6, 2, '0.1.0');
INSERT INTO public.nexus_objects VALUES ('prod', 'Deployment', 'chat', 2, 5, '{"engine":{"contextSize":4096},"model":"tiny"}', '732c8a18a2d23450', '{}', '{}', '[{"lastTransitionTime":"2026-01-01T00:00:00.000000Z","message":"1 of 1 replicas: ä, ''quoted''","observedGeneration":2,"reason":"Serving","status":"True","type":"Ready"}]', 'READY', '{"GPU":"0"}', 2, NULL, NULL, '["talk"]', NULL, '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z');
INSERT INTO public.nexus_objects VALUES ('prod', 'Model', 'tiny', 1, 6, '{"source":{"path":"/models/tiny.gguf"}}', '9ad3e4209bb4dabd', '{"team":"a"}', '{"nexusctl/protect":"delete"}', '[]', '', '{}', 0, 'maintenance', NULL, '[]', NULL, '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z');
INSERT INTO public.nexus_revisions VALUES ('prod', 'Model', 'tiny', 1, 1, '{"source":{"path":"/models/tiny.gguf"}}', '9ad3e4209bb4dabd', 'apply', 'ann', '4be19c2', 'op1', '2026-01-01T00:00:00.000000Z', '', NULL, NULL, '');
INSERT INTO public.nexus_revisions VALUES ('prod', 'Deployment', 'chat', 1, 1, '{"engine":{"contextSize":2048},"model":"tiny"}', '2b252a808aa7c2f4', 'apply', 'ann', '4be19c2', 'op1', '2026-01-01T00:00:00.000000Z', 'Succeeded', '2026-01-01T00:00:00.000000Z', NULL, '');
INSERT INTO public.nexus_revisions VALUES ('prod', 'Deployment', 'chat', 2, 2, '{"engine":{"contextSize":4096},"model":"tiny"}', '732c8a18a2d23450', 'apply', 'ann', '', 'op2', '2026-01-01T00:00:00.000000Z', '', NULL, NULL, '');
INSERT INTO public.nexus_version VALUES ('0004');
SELECT pg_catalog.setval('public.nexus_audit_id_seq', 1, true);
ALTER TABLE ONLY public.nexus_audit
    ADD CONSTRAINT nexus_audit_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.nexus_backoffs
    ADD CONSTRAINT nexus_backoffs_pkey PRIMARY KEY (set, replica);
ALTER TABLE ONLY public.nexus_events
    ADD CONSTRAINT nexus_events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.nexus_journal
    ADD CONSTRAINT nexus_journal_pkey PRIMARY KEY (op_id, seq);
ALTER TABLE ONLY public.nexus_meta
    ADD CONSTRAINT nexus_meta_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.nexus_objects
    ADD CONSTRAINT nexus_objects_pkey PRIMARY KEY (set, kind, name);
ALTER TABLE ONLY public.nexus_ratings
    ADD CONSTRAINT nexus_ratings_pkey PRIMARY KEY (set, subject, actor);
ALTER TABLE ONLY public.nexus_reports
    ADD CONSTRAINT nexus_reports_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.nexus_revisions
    ADD CONSTRAINT nexus_revisions_pkey PRIMARY KEY (set, kind, name, number);
ALTER TABLE ONLY public.nexus_version
    ADD CONSTRAINT nexus_version_pkey PRIMARY KEY (version_num);
ALTER TABLE ONLY public.nexus_wishes
    ADD CONSTRAINT nexus_wishes_pkey PRIMARY KEY (set);
CREATE UNIQUE INDEX nexus_audit_effect ON public.nexus_audit USING btree (op_id, seq);
CREATE INDEX nexus_events_about ON public.nexus_events USING btree (set, kind, name, last);
CREATE INDEX nexus_events_last ON public.nexus_events USING btree (last);
