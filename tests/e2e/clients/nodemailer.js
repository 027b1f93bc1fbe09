/* Send one message as it lies in a file: node nodemailer.js '{"port": ..., ...}'
 *
 * NODE_PATH names the folder with nodemailer.  Exit 0 when every recipient was taken.
 */
const nodemailer = require("nodemailer");
const fs = require("fs");
const a = JSON.parse(process.argv[2]);

const transport = nodemailer.createTransport({
	host: "127.0.0.1", port: a.port, name: "node.client.test",
	secure: a.secure, requireTLS: !a.secure, tls: { rejectUnauthorized: false },
	auth: { user: a.login, pass: a.password }, authMethod: a.method,
});

transport.sendMail({
	envelope: { from: a.from, to: a.to, use8BitMime: true },
	raw: fs.createReadStream(a.file),
}, (err, info) => {
	if (err || info.rejected.length) {
		console.error(err || info);
		process.exitCode = 1;
	}
	transport.close();
});
