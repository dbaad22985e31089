// Validates OpenAPI documents with swagger-parser: the schema of the standard, and what no schema can say.
import SwaggerParser from "@apidevtools/swagger-parser";

let failed = false;
for (const file of process.argv.slice(2)) {
  try {
    const { info, paths } = await SwaggerParser.validate(file);
    console.log(`${file}: valid, ${info.title} ${info.version}, ${Object.keys(paths).length} paths`);
  } catch (error) {
    failed = true;
    console.log(`${file}: ${error.message}`);
  }
}
process.exit(failed ? 1 : 0);
