//! Certificates, made at run time.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};

/// An authority, a server's certificate for `localhost` and a client's for `yagura`, as files.
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes them in `folder`: `ca.pem`, `localhost.pem`, `localhost.key`, `yagura.pem`, `yagura.key`.
    pub fn make(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let write = |name: &str, text: String| std::fs::write(folder.join(name), text);
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        write("ca.pem", authority.pem())?;
        for (name, purpose) in [
            ("localhost", ExtendedKeyUsagePurpose::ServerAuth),
            ("yagura", ExtendedKeyUsagePurpose::ClientAuth),
        ] {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(vec![name.to_string()])?;
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.extended_key_usages.push(purpose);
            write(&format!("{name}.pem"), params.signed_by(&key, &authority)?.pem())?;
            write(&format!("{name}.key"), key.serialize_pem())?;
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// Those that were made in `folder` before.
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The path of one of them.
    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}
