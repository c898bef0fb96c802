-- The tables of a Baïkal 0.12 database, with its columns and unique keys and,
-- on purpose, without the indexes that it lacks. No semicolon but at the end
-- of a statement: the installer splits the file there.

CREATE TABLE users (
    id INTEGER PRIMARY KEY ASC NOT NULL,
    username TEXT NOT NULL UNIQUE,
    digesta1 TEXT NOT NULL
);

CREATE TABLE principals (
    id INTEGER PRIMARY KEY ASC NOT NULL,
    uri TEXT NOT NULL UNIQUE,
    email TEXT,
    displayname TEXT
);

CREATE TABLE groupmembers (
    id INTEGER PRIMARY KEY ASC NOT NULL,
    principal_id INTEGER NOT NULL,
    member_id INTEGER NOT NULL,
    UNIQUE (principal_id, member_id)
);

-- What is stored once, however many people see it.
CREATE TABLE calendars (
    id INTEGER PRIMARY KEY ASC NOT NULL,
    synctoken INTEGER NOT NULL DEFAULT 1,
    components TEXT NOT NULL
);

-- How one person sees a calendar: access 1 is the owner's, 2 may read, 3 may write.
CREATE TABLE calendarinstances (
    id INTEGER PRIMARY KEY ASC NOT NULL,
    calendarid INTEGER,
    principaluri TEXT,
    access INTEGER,
    displayname TEXT,
    uri TEXT NOT NULL,
    description TEXT,
    calendarorder INTEGER,
    calendarcolor TEXT,
    timezone TEXT,
    transparent BOOL,
    share_href TEXT,
    share_displayname TEXT,
    share_invitestatus INTEGER DEFAULT '2',
    UNIQUE (principaluri, uri),
    UNIQUE (calendarid, principaluri),
    UNIQUE (calendarid, share_href)
);

CREATE TABLE calendarobjects (
    id INTEGER PRIMARY KEY ASC NOT NULL,
    calendardata BLOB NOT NULL,
    uri TEXT NOT NULL,
    calendarid INTEGER NOT NULL,
    lastmodified INTEGER NOT NULL,
    etag TEXT NOT NULL,
    size INTEGER NOT NULL,
    componenttype TEXT,
    firstoccurence INTEGER,
    lastoccurence INTEGER,
    uid TEXT
);

-- What changed at which sync token: operation 1 added, 2 changed, 3 deleted.
CREATE TABLE calendarchanges (
    id INTEGER PRIMARY KEY ASC NOT NULL,
    uri TEXT,
    synctoken INTEGER NOT NULL,
    calendarid INTEGER NOT NULL,
    operation INTEGER NOT NULL
);
CREATE INDEX calendarid_synctoken ON calendarchanges (calendarid, synctoken);

CREATE TABLE calendarsubscriptions (
    id INTEGER PRIMARY KEY ASC NOT NULL,
    uri TEXT NOT NULL,
    principaluri TEXT NOT NULL,
    source TEXT NOT NULL,
    displayname TEXT,
    refreshrate TEXT,
    calendarorder INTEGER,
    calendarcolor TEXT,
    striptodos BOOL,
    stripalarms BOOL,
    stripattachments BOOL,
    lastmodified INT
);
CREATE INDEX principaluri_uri ON calendarsubscriptions (principaluri, uri);

CREATE TABLE schedulingobjects (
    id INTEGER PRIMARY KEY ASC NOT NULL,
    principaluri TEXT NOT NULL,
    calendardata BLOB,
    uri TEXT NOT NULL,
    lastmodified INTEGER,
    etag TEXT NOT NULL,
    size INTEGER NOT NULL
);

CREATE TABLE addressbooks (
    id INTEGER PRIMARY KEY ASC NOT NULL,
    principaluri TEXT NOT NULL,
    displayname TEXT,
    uri TEXT NOT NULL,
    description TEXT,
    synctoken INTEGER NOT NULL DEFAULT 1
);

CREATE TABLE cards (
    id INTEGER PRIMARY KEY ASC NOT NULL,
    addressbookid INTEGER NOT NULL,
    carddata BLOB,
    uri TEXT NOT NULL,
    lastmodified INTEGER,
    etag TEXT,
    size INTEGER
);

CREATE TABLE addressbookchanges (
    id INTEGER PRIMARY KEY ASC NOT NULL,
    uri TEXT,
    synctoken INTEGER NOT NULL,
    addressbookid INTEGER NOT NULL,
    operation INTEGER NOT NULL
);
CREATE INDEX addressbookid_synctoken ON addressbookchanges (addressbookid, synctoken);

CREATE TABLE locks (
    id INTEGER PRIMARY KEY ASC NOT NULL,
    owner TEXT,
    timeout INTEGER,
    created INTEGER,
    token TEXT,
    scope INTEGER,
    depth INTEGER,
    uri TEXT
);

-- Properties that a client sets and the server has no column for.
CREATE TABLE propertystorage (
    id INTEGER PRIMARY KEY ASC NOT NULL,
    path TEXT NOT NULL,
    name TEXT NOT NULL,
    valuetype INTEGER NOT NULL,
    value STRING
);
CREATE UNIQUE INDEX path_property ON propertystorage (path, name);
