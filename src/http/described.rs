//! The API's description (OpenAPI): what the handlers say of themselves, and what holds for all of them.

use utoipa::{
    OpenApi,
    openapi::{ContentBuilder, Ref, ResponseBuilder, path::Operation},
};

use super::{problem::Problem, service};

/// What any operation may answer, whatever it is about.
const REFUSALS: [(&str, &str); 3] = [
    ("400", "The request is malformed"),
    ("500", "The server failed; its log knows why, by the request id"),
    ("503", "Overloaded, stopping, or without its database; `Retry-After` says when to come again"),
];
/// What any operation with a body may answer besides.
const REFUSED_BODIES: [(&str, &str); 4] = [
    ("408", "The body did not arrive in time"),
    ("413", "The body is too large"),
    ("415", "The body is not JSON"),
    ("422", "The body does not hold what it should"),
];

/// The API's description; each room of handlers adds its routes.
#[derive(OpenApi)]
#[openapi(
    info(title = "Crema", description = "Orders of a coffee shop, and the sagas that fulfil them."),
    tags(
        (name = "orders", description = "Placing orders, and what becomes of them"),
        (name = "shop", description = "The menu, the stock, and whether the shop is open"),
        (name = "operators", description = "For those who run the service"),
        (name = "service", description = "For those who watch over the process"),
    ),
    components(schemas(Problem))
)]
struct Description;

/// The API's description as the binary knows it, in YAML.
///
/// # Errors
/// Whatever the YAML writer says; it never does for a description that was tested once.
pub fn openapi_yaml() -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let mut description = Description::openapi();
    description.merge(super::api().into_openapi());
    description.merge(service::routes().into_openapi());
    for (path, item) in &mut description.paths.paths {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            add_refusals(path, operation);
        }
    }
    Ok(description.to_yaml()?)
}

fn add_refusals(path: &str, operation: &mut Operation) {
    let bodies = REFUSED_BODIES.iter().filter(|_| operation.request_body.is_some());
    // Those who watch over the process are always let in.
    let refusals = REFUSALS.iter().filter(|_| path.starts_with("/v1/"));
    for (status, description) in refusals.chain(bodies) {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let refusal = ResponseBuilder::new()
            .description(*description)
            .content("application/problem+json", content);
        let known = &mut operation.responses.responses;
        known.entry((*status).to_owned()).or_insert_with(|| refusal.build().into());
    }
}
