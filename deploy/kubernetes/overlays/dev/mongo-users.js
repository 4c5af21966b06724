// Run once, by the image's entry point, over an empty data folder. The roles are those of docs/mongodb-roles.json.
const { readFileSync } = require("fs");
const read = (name) => readFileSync(`/run/secrets/stores/${name}`, "utf8").trim();
const roles = [
  {
    "createRole": "orchestratorApp",
    "privileges": [
      {"resource": {"db": "orchestrator", "collection": "audit_log"}, "actions": ["find", "insert", "listIndexes"]},
      {"resource": {"db": "orchestrator", "collection": "transcripts"}, "actions": ["find", "insert", "listIndexes"]},
      {"resource": {"db": "orchestrator", "collection": "audit_events"}, "actions": ["find"]}
    ],
    "roles": []
  },
  {
    "createRole": "orchestratorArchive",
    "privileges": [
      {
        "resource": {"db": "orchestrator", "collection": "audit_log"},
        "actions": ["find", "insert", "update", "remove", "createIndex", "listIndexes"]
      },
      {
        "resource": {"db": "orchestrator", "collection": "transcripts"},
        "actions": ["find", "insert", "update", "remove", "createIndex", "listIndexes"]
      }
    ],
    "roles": []
  }
];
const target = db.getSiblingDB("orchestrator");
const account = (user, file, role) => ({ user, pwd: read(file), roles: [role] });
roles.forEach((role) => target.runCommand(role).ok || quit(1));
target.createUser(account("orchestrator", "mongo-password", "orchestratorApp"));
target.createUser(account("orchestrator_archive", "mongo-archive-password", "orchestratorArchive"));
