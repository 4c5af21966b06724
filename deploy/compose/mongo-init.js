// Make the roles of docs/retention.md and a user for each. Read by the image at the first start, as the root user.
const orchestrator = db.getSiblingDB("orchestrator");
const read = (name) => fs.readFileSync(`/run/secrets/${name}`, "utf8").trim();

for (const role of JSON.parse(fs.readFileSync("/etc/orchestrator/mongodb-roles.json", "utf8"))) {
    db.getSiblingDB("admin").runCommand(role);
}
const users = {
    orchestrator: ["orchestratorApp", "mongo_password"],
    orchestrator_archive: ["orchestratorArchive", "mongo_archive_password"],
};
for (const [user, [role, secret]] of Object.entries(users)) {
    orchestrator.createUser({ user, pwd: read(secret), roles: [{ role, db: "admin" }] });
}
