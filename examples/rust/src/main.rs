//! Asks the guest's agent who this app is, derives a key, and takes evidence over a nonce. The
//! reference system's crate talks to our agent as it is.
use dstack_sdk::dstack_client::DstackClient;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nonce = b"a nonce of the relying party";
    let agent = DstackClient::new(None);

    println!("app {}", agent.info().await?.app_id);
    // The key itself stays here; what vouches for it may be shown.
    let key = agent.get_key(Some("example".into()), Some("demo".into())).await?;
    println!("link {}", key.signature_chain[0]);
    let quote = agent.get_quote(nonce.to_vec()).await?.decode_quote()?;
    let bound = &quote[568..568 + nonce.len()] == nonce;
    println!("nonce {}", if bound { "bound" } else { "lost" });
    Ok(())
}
