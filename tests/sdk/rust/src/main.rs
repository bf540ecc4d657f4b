//! The reference system's crate against our agent: every call it has, and what must hold of each
//! answer. Endpoints come from the environment, as the crate reads them.
use dstack_sdk::{dstack_client::DstackClient, ethereum, tappd_client::TappdClient};
use dstack_sdk_types::dstack::TlsKeyConfig;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

async fn keys(client: &DstackClient) {
    let of = |path: &str, purpose: &str| client.get_key(Some(path.into()), Some(purpose.into()));
    let a = of("wallet/main", "signing").await.unwrap();
    let b = of("wallet/main", "other").await.unwrap();
    let c = of("schlüssel/键/🔑", "signing").await.unwrap();
    assert_eq!(a.decode_key().unwrap().len(), 32);
    let links: Vec<usize> = a.decode_signature_chain().unwrap().iter().map(Vec::len).collect();
    assert_eq!(links, [65, 65]);
    assert_eq!(a.key, b.key);
    assert_ne!(a.signature_chain[0], b.signature_chain[0]);
    assert_ne!(a.key, c.key);
    assert_eq!(
        ethereum::to_account(&a).unwrap().address(),
        ethereum::to_account(&b).unwrap().address()
    );
}

async fn tls_keys(client: &DstackClient) {
    let asked = || {
        TlsKeyConfig::builder()
            .subject("api.test")
            .alt_names(vec!["b.test".into()])
            .usage_ra_tls(true)
            .build()
    };
    let one = client.get_tls_key(asked()).await.unwrap();
    let two = client.get_tls_key(asked()).await.unwrap();
    assert!(one.key.starts_with("-----BEGIN PRIVATE KEY-----"));
    assert_ne!(one.key, two.key);
    assert!(one.certificate_chain.len() >= 2);
}

async fn evidence(client: &DstackClient) {
    let answer = client.get_quote(b"from rust".to_vec()).await.unwrap();
    let quote = answer.decode_quote().unwrap();
    assert_eq!(&quote[568..577], b"from rust");
    assert!(quote[577..632].iter().all(|byte| *byte == 0));
    for (index, register) in answer.replay_rtmrs().unwrap() {
        let at = 376 + 48 * index as usize;
        assert_eq!(register, hex::encode(&quote[at..at + 48]));
    }
    let attestation = client.attest(b"from rust".to_vec()).await.unwrap();
    let bytes = attestation.decode_attestation().unwrap();
    assert!(bytes.windows(9).any(|window| window == b"from rust"));
    assert!(client.attest(vec![0; 65]).await.is_err());
}

async fn signatures(client: &DstackClient) {
    let digest = Sha256::digest(b"x").to_vec();
    for (algorithm, data) in [
        ("ed25519", b"x".to_vec()),
        ("secp256k1", b"x".to_vec()),
        ("secp256k1_prehashed", digest),
    ] {
        let made = client.sign(algorithm, data.clone()).await.unwrap();
        let signature = made.decode_signature().unwrap();
        let key = made.decode_public_key().unwrap();
        assert_eq!(made.signature_chain.len(), 3);
        let good = client.verify(algorithm, data, signature.clone(), key.clone()).await.unwrap();
        assert!(good.valid);
        let other = Sha256::digest(b"y").to_vec();
        assert!(!client.verify(algorithm, other, signature, key).await.unwrap().valid);
    }
}

async fn information(client: &DstackClient) {
    let info = client.info().await.unwrap();
    let hash = hex::encode(Sha256::digest(info.tcb_info.app_compose.as_bytes()));
    assert_eq!(info.app_name, "sdk-test");
    assert_eq!(info.compose_hash, hash);
    assert_eq!(info.app_id, hash[..40]);
    assert!(!client.version().await.unwrap().version.is_empty());
    assert!(client.emit_event("name".into(), vec![1]).await.is_err());
}

async fn older_service() {
    let older = TappdClient::new(None);
    let one = older.derive_key("/").await.unwrap();
    let two = older.derive_key_with_subject("/", "old.test").await.unwrap();
    assert_eq!(one.decode_key().unwrap().len(), 32);
    assert_eq!(one.decode_key().unwrap(), two.decode_key().unwrap());
    let quote = older.get_quote(vec![7; 64]).await.unwrap().decode_quote().unwrap();
    assert_eq!(quote[568..632], [7; 64]);
    assert_eq!(older.info().await.unwrap().app_name, "sdk-test");
}

async fn many_at_once() {
    let calls = (0..64).map(|i| {
        tokio::spawn(async move {
            DstackClient::new(None).get_key(Some(format!("p/{i}")), None).await.unwrap().key
        })
    });
    let mut keys = std::collections::HashSet::new();
    for call in calls.collect::<Vec<_>>() {
        keys.insert(call.await.unwrap());
    }
    assert_eq!(keys.len(), 64);
}

/// One of many mixed calls; gives the path and key of a key call.
async fn mixed(client: &DstackClient, i: u64) -> Option<(String, String)> {
    let nonce = i.to_be_bytes().to_vec();
    match i % 20 {
        0 => {
            let asked = TlsKeyConfig::builder().subject("load.test").build();
            client.get_tls_key(asked).await.unwrap();
        }
        1 => {
            let quote = client.get_quote(nonce.clone()).await.unwrap().decode_quote().unwrap();
            assert_eq!(quote[568..576], nonce);
        }
        2 => assert_eq!(client.info().await.unwrap().app_name, "sdk-test"),
        3 => assert!(client.attest(nonce).await.unwrap().attestation.len() > 1000),
        4 => assert!(!client.version().await.unwrap().version.is_empty()),
        5 => {
            let made = client.sign("secp256k1", nonce).await.unwrap();
            assert_eq!(made.decode_signature().unwrap().len(), 64);
        }
        _ => {
            let path = format!("mix/{}", i % 10);
            let key = client.get_key(Some(path.clone()), None).await.unwrap().key;
            return Some((path, key));
        }
    }
    None
}

/// Sends mixed calls, eight at a time; prints a hash of the keys of ten paths.
async fn load(total: u64) {
    let workers = (0..8).map(|worker| {
        tokio::spawn(async move {
            let client = DstackClient::new(None);
            let mut keys = BTreeMap::new();
            for i in (worker..total).step_by(8) {
                if let Some((path, key)) = mixed(&client, i).await {
                    let before = keys.entry(path).or_insert_with(|| key.clone());
                    assert_eq!(*before, key);
                }
            }
            keys
        })
    });
    let mut keys = BTreeMap::new();
    for worker in workers.collect::<Vec<_>>() {
        keys.extend(worker.await.unwrap());
    }
    let text: String = (0..10).map(|i| keys[&format!("mix/{i}")].as_str()).collect();
    println!("{}", hex::encode(Sha256::digest(text.as_bytes())));
}

#[tokio::main]
async fn main() {
    if let Some(total) = std::env::args().nth(1) {
        return load(total.parse().unwrap()).await;
    }
    let client = DstackClient::new(None);
    keys(&client).await;
    tls_keys(&client).await;
    evidence(&client).await;
    signatures(&client).await;
    information(&client).await;
    older_service().await;
    many_at_once().await;
    println!("every call of the crate answered as it must");
}
