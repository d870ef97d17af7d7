// Asks a gateway one question: `npm run ask -- http://127.0.0.1:9464 "Where is my card?"`.

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { Answers, Route } from "../gen/gateway/v1/gateway_pb.ts";

const [baseUrl = "http://127.0.0.1:9464", question = "Where is my card?"] = process.argv.slice(2);

const apiKey = process.env["GATEWAY_API_KEY"];
const headers: Record<string, string> = apiKey ? { authorization: `Bearer ${apiKey}` } : {};

const answers = createClient(Answers, createConnectTransport({ baseUrl, httpVersion: "1.1" }));

try {
  const answer = await answers.answer({ question }, { timeoutMs: 1000, headers });
  if (answer.route === Route.ABSTAIN) {
    console.log("nobody is sure enough; nearest:", answer.handoff?.documentIds.join(", "));
  } else {
    console.log(`${Route[answer.route]} ${answer.confidence.toFixed(3)}: ${answer.text}`);
  }
  for (const citation of answer.citations) {
    console.log(`- ${citation.title} ${citation.uri}`);
  }
} catch (thrown) {
  const error = ConnectError.from(thrown);
  console.error(`${Code[error.code]}: ${error.rawMessage}`);
  process.exitCode = 1;
}
