// Runs a script for mongosh and prints the commands that it would send, as JSON: node mongosh.js SCRIPT SECRETS ROLES
const fs = require("node:fs");
const [script, secrets, roles] = process.argv.slice(2);
const sent = [];
const database = (name) => ({
    getSiblingDB: database,
    runCommand: (command) => sent.push([name, command]),
    createUser: ({ user, pwd, roles }) => sent.push([name, { createUser: user, pwd, roles }]),
});
const places = {
    readFileSync: (path, encoding) =>
        fs.readFileSync(path.startsWith("/run/secrets/") ? path.replace("/run/secrets", secrets) + ".txt" : roles, encoding),
};
new Function("db", "fs", fs.readFileSync(script, "utf8"))(database("test"), places);
console.log(JSON.stringify(sent));
